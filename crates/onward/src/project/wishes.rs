//! From the project file's wishes to what a release keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onward_core::document::Server;
use onward_core::model::{
    Config, Probe as ReleaseProbe, ProbeKind, Process, ProcessName, Role, Routing, Run, ServerName,
    SiteRules, Stop, Strategy,
};
use onward_core::secrets::SecretVersion;

use super::{
    PROBE_INTERVAL, PROBE_TIMEOUT, Probe, Resolved, ResolvedProcess, Serves, Statuses, Try,
};

/// How long onward's own server of static files may take to listen.
const STATIC_WITHIN: Duration = Duration::from_secs(10);

/// The configuration of a release, as the file wishes it.
pub fn config(resolved: &Resolved) -> Arc<Config> {
    let processes = resolved.processes.iter();
    let values = resolved.values.iter();
    let secrets = resolved.secrets.iter();
    let tasks = resolved.tasks.iter();
    let command =
        |given: &Option<super::ShellCommand>| given.as_ref().map(|c| c.as_str().to_owned());
    Arc::new(Config {
        processes: processes.map(|one| (one.name.clone(), process(one))).collect(),
        values: values.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect(),
        secrets: secrets.map(|name| (name.clone(), SecretVersion::CURRENT)).collect(),
        release_command: command(&resolved.release.run),
        check_command: command(&resolved.release.check),
        watch_ms: ms(resolved.release.watch),
        warm_ms: ms(resolved.release.warm),
        shared_dirs: paths(&resolved.shared),
        shared_files: paths(&resolved.shared_files),
        runtimes: BTreeMap::new(),
        strategy: Strategy::All,
        routing: Routing { site: site(resolved), ..resolved.routing.clone() },
        tasks: tasks.map(|(name, task)| (name.clone(), task.run.as_str().to_owned())).collect(),
        schedules: resolved.schedules.clone(),
    })
}

/// How the files of the one process are offered that has traffic.
fn site(resolved: &Resolved) -> SiteRules {
    let mut sites = resolved.processes.iter().filter_map(|process| match &process.serves {
        Serves::Static(_, rules) => Some(rules.clone()),
        Serves::Command(_) => None,
    });
    sites.next().unwrap_or_default()
}

fn paths(paths: &[super::ProjectPath]) -> Vec<String> {
    paths.iter().map(|path| path.as_str().to_owned()).collect()
}

/// The one server of a local environment, with every role that the project knows.
pub fn local_server(resolved: &Resolved, name: ServerName) -> BTreeMap<ServerName, Server> {
    let known = ["balancer", "manager", "web", "worker"];
    let own = resolved.processes.iter().map(|process| process.name.as_str());
    let roles: BTreeSet<Role> =
        known.into_iter().chain(own).filter_map(|role| role.parse().ok()).collect();
    BTreeMap::from([(name, Server { address: "127.0.0.1".to_owned(), roles })])
}

fn process(wish: &ResolvedProcess) -> Process {
    let run = match &wish.serves {
        Serves::Command(command) => Run::Command(command.as_str().to_owned()),
        Serves::Static(path, _) => Run::Static(path.as_str().to_owned()),
    };
    let probe = match &wish.serves {
        Serves::Command(_) => wish.probe.as_ref().map(probe),
        Serves::Static(..) => Some(ReleaseProbe {
            kind: ProbeKind::Tcp,
            within_ms: ms(STATIC_WITHIN),
            interval_ms: ms(PROBE_INTERVAL),
            timeout_ms: ms(PROBE_TIMEOUT),
        }),
    };
    let stop =
        Stop { signal: wish.stop_signal.as_str().to_owned(), within_ms: ms(wish.stop_within) };
    Process {
        run,
        probe,
        stop,
        overlap: overlaps(&wish.name, wish.overlap),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    }
}

/// A process with traffic always overlaps; only the others have something to say.
fn overlaps(name: &ProcessName, wish: bool) -> bool {
    wish && !name.has_traffic()
}

fn probe(wish: &Probe) -> ReleaseProbe {
    let kind = match &wish.how {
        Try::Http { path, status, body } => ProbeKind::Http {
            path: path.clone(),
            statuses: match status {
                Statuses::Below(_) => Vec::new(),
                Statuses::Only(these) => these.clone(),
            },
            body: body.clone(),
        },
        Try::Tcp => ProbeKind::Tcp,
        Try::Command(command) => ProbeKind::Command(command.as_str().to_owned()),
    };
    ReleaseProbe {
        kind,
        within_ms: ms(wish.within),
        interval_ms: ms(wish.interval),
        timeout_ms: ms(wish.timeout),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
