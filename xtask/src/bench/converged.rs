//! Whether an environment is as it should be: what it says, and what really runs.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Outcome;
use super::place::{Place, app_pids};
use onward_load::Connection;

/// What there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The last release that the history calls done serves.
    Serving,
    /// Nothing runs.
    Nothing,
}

/// Waits until everything is as it should be; how long that took since `began`.
pub fn within(
    place: &Place,
    expected: Expected,
    began: Instant,
    limit: Duration,
) -> Result<Duration, String> {
    loop {
        match now(place, expected) {
            Ok(()) => return Ok(began.elapsed()),
            Err(error) if began.elapsed() > limit => return Err(error.to_string()),
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

/// Looks once.
pub fn now(place: &Place, expected: Expected) -> Outcome<()> {
    match expected {
        Expected::Nothing => nothing(place),
        Expected::Serving => serving(place),
    }
}

fn nothing(place: &Place) -> Outcome<()> {
    let processes = place.processes();
    is(processes.is_empty(), || format!("processes are left: {processes:?}"))?;
    let status = place.status()?;
    is(status["release"].is_null(), || format!("something serves: {status}"))?;
    is(status["operation"].is_null(), || format!("in flight: {}", status["operation"]))?;
    // Asking for the status of what is down starts nothing either.
    let processes = place.processes();
    is(processes.is_empty(), || format!("status started something: {processes:?}"))
}

fn serving(place: &Place) -> Outcome<()> {
    let status = place.status()?;
    is(status["operation"].is_null(), || format!("in flight: {}", status["operation"]))?;
    is(status["degraded"] == Value::Array(Vec::new()), || {
        format!("degraded: {}", status["degraded"])
    })?;
    let history = place.run(&["history", "--json"])?.done()?.json()?;
    let release = status["release"]["number"].as_u64();
    let operations = history["operations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let done = operations.iter().find(|operation| operation["outcome"] == "done");
    let demanded = done.and_then(|operation| operation["release"].as_u64());
    is(release.is_some() && release == demanded, || {
        format!("{release:?}, not {demanded:?} serves")
    })?;
    processes(place, &status, release, history["warm"].as_u64())?;
    let address = status["url"].as_str().unwrap_or_default().trim_start_matches("http://");
    let (answer, body) = Connection::to(address).get("/").map_err(|loss| loss.why)?;
    is(Some(answer.release) == release, || format!("{body} answers, not {release:?}"))
}

/// One agent, one proxy, the instances of what serves and of what is warm, and nothing else.
fn processes(
    place: &Place,
    status: &Value,
    serving: Option<u64>,
    warm: Option<u64>,
) -> Outcome<()> {
    for process in status["processes"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let release = process["release"].as_u64();
        let wanted = release == serving || (release == warm && warm.is_some());
        is(wanted && process["state"] == "ready", || format!("{process} is not as wanted"))?;
    }
    let own = place.processes();
    let with = |mark: &str| own.iter().filter(|(_, line)| line.contains(mark)).count();
    let (agents, proxies) = (with(" agent run "), with(" proxy run "));
    is((agents, proxies) == (1, 1), || format!("{agents} agents, {proxies} proxies"))?;
    let apps = own
        .iter()
        .filter(|(_, line)| !line.contains(" agent run ") && !line.contains(" proxy run "));
    let apps: BTreeSet<u32> = apps.map(|(pid, _)| *pid).collect();
    let known: BTreeSet<u32> = app_pids(status).into_iter().collect();
    is(apps == known, || format!("the processes {apps:?} run, {known:?} are known: {own:?}"))
}

fn is(so: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if so { Ok(()) } else { Err(otherwise().into()) }
}
