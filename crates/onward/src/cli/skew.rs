//! When this onward and the agent that runs are of different builds.
//!
//! A command that acts puts the agent and the proxy of its own build in the place of older ones, and
//! says so. It leaves newer ones: two people with two versions would otherwise fight. A command that
//! reads replaces nothing.

use onward_server::build::{Build, Skew};
use serde_json::{Value, json};

use super::carry;
use super::complaint::Complaint;
use super::context::{self, Context};
use super::exit::Exit;
use super::numbers;
use super::screen::Screen;
use crate::providers::local::{Renewal, Replaced};

/// Before a command acts: agent and proxy are of its build, or newer.
pub fn renew(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    match exchange(context, false)? {
        Exchange { renewal: Renewal::Same, .. } => {}
        Exchange { renewal: Renewal::Newer(running), .. } => screen.warn(&format!(
            "onward {} runs here and this is {}: it goes on with the newer one. `onward agent \
             upgrade --downgrade` puts this one in its place",
            running.version,
            onward_server::build::VERSION
        )),
        Exchange { renewal: Renewal::Replaced(replaced), counted } => {
            let mut fields = as_json(&replaced, counted.as_ref());
            fields["event"] = json!("upgraded");
            screen.event(&fields);
            screen.note(&format!("  {}", sentence(&replaced, counted.as_ref())));
            if let Some(why) = &replaced.problem {
                screen.warn(&format!("the proxy is not replaced and goes on: {why}"));
            }
        }
    }
    Ok(())
}

/// `onward agent upgrade`: the same and nothing else.
pub fn upgrade(context: &Context, downgrade: bool, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    context.prepare()?;
    match exchange(context, downgrade)? {
        Exchange { renewal: Renewal::Same, .. } => {
            screen.success(&format!(
                "Nothing changed: onward {} is what runs",
                onward_server::build::VERSION
            ));
            screen.finished(true, json!({"outcome": "unchanged"}));
            Ok(Exit::Done)
        }
        Exchange { renewal: Renewal::Newer(running), .. } => Err(Complaint::new(
            Exit::Refused,
            format!(
                "onward {} runs here, and this is the older {}",
                running.version,
                onward_server::build::VERSION
            ),
        )
        .fact("Nothing was replaced")
        .hint("`onward agent upgrade --downgrade` puts the older one in its place")),
        Exchange { renewal: Renewal::Replaced(replaced), counted } => {
            conclude(context, &replaced, counted.as_ref(), screen)
        }
    }
}

fn conclude(
    context: &Context,
    replaced: &Replaced,
    counted: Option<&Counted>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    if let Some(why) = &replaced.problem {
        return Err(Complaint::new(Exit::Failed, format!("the proxy is not replaced: {why}"))
            .fact("The old proxy goes on, and the agent is replaced")
            .hint(format!(
                "{} has what it printed",
                context.local.root().join("proxy.log").display()
            ))
            .hint("`onward agent upgrade` tries it again"));
    }
    let mut fields = as_json(replaced, counted);
    fields["outcome"] = json!("done");
    screen.success(&sentence(replaced, counted));
    screen.finished(true, fields);
    Ok(Exit::Done)
}

/// For a command that reads: says when what runs is of another version.
pub fn tell(context: &Context, screen: &Screen) {
    let Some(running) = context.local.running_build() else { return };
    let Ok(own) = context.local.build() else { return };
    let what = match own.skew(&running) {
        Skew::Newer => "the next command that acts replaces it",
        Skew::Older => "commands of this version go on with the newer one",
        Skew::Same | Skew::Rebuilt => return,
    };
    screen.warn(&format!("onward {} runs here and this is {}: {what}", running, own.version));
}

/// What was counted while agent and proxy were replaced.
struct Counted {
    requests: u64,
    lost: u64,
}

struct Exchange {
    renewal: Renewal,
    /// None when nothing was deployed, or the counters could not be continued.
    counted: Option<Counted>,
}

fn exchange(context: &Context, downgrade: bool) -> Result<Exchange, Complaint> {
    let traffic = || carry::local_report(context).and_then(|report| report.traffic);
    let own = context.local.build();
    let is_other = own.is_ok_and(|own| context.local.running_build().is_some_and(|it| it != own));
    let before = if is_other { traffic() } else { None };
    let renewal = context.local.renew(downgrade).map_err(|error| {
        context::agent_complaint(&context.local.root().join("agent.log"), &error)
    })?;
    let counted = before.and_then(|before| {
        let own = traffic()?.since(&before)?;
        Some(Counted { requests: own.requests, lost: own.lost })
    });
    Ok(Exchange { renewal, counted })
}

fn sentence(replaced: &Replaced, counted: Option<&Counted>) -> String {
    let Replaced { from, to, problem } = replaced;
    let names = if from.version == to.version {
        format!("onward {}, another build", to.version)
    } else {
        format!("onward {from} → {to}")
    };
    let what = if problem.is_some() { "agent" } else { "agent and proxy" };
    let traffic = counted.map_or_else(String::new, |own| {
        format!(
            ", {} of {} lost",
            numbers::grouped(own.lost),
            numbers::count(own.requests, "request")
        )
    });
    format!("{names}: {what} replaced{traffic}")
}

fn as_json(replaced: &Replaced, counted: Option<&Counted>) -> Value {
    let build = |build: &Build| json!({"version": build.version, "digest": build.digest});
    json!({
        "from": build(&replaced.from),
        "to": build(&replaced.to),
        "proxy_problem": replaced.problem,
        "requests": counted.map(|own| own.requests),
        "lost": counted.map(|own| own.lost),
    })
}
