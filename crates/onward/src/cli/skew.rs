//! When this onward and the agent that runs are of different builds.
//!
//! A command that acts puts the agent and the proxy of its own build in the place of older ones, and
//! says so. It leaves newer ones: two people with two versions would otherwise fight. A command that
//! reads replaces nothing.

use std::collections::BTreeSet;

use onward_core::model::ServerName;
use onward_server::build::{Build, Skew};
use serde_json::{Value, json};

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::numbers;
use super::screen::Screen;
use crate::providers::Server;
use crate::providers::local::{self, AgentError, Renewal, Replaced};

/// How many servers are upgraded at once: each is sent the whole program.
const AT_ONCE: usize = 8;

/// The servers of an environment.
struct Fleet {
    balancers: Vec<Server>,
    others: Vec<Server>,
}

impl Fleet {
    fn of(context: &Context) -> Result<Self, Complaint> {
        let stored = context.look()?;
        let document = stored.as_ref().map(|stored| &*stored.document);
        let servers = fleet::servers(context, document);
        fleet::greet(&servers);
        let (balancers, others) =
            servers.into_iter().partition(|server| fleet::balances(document, server));
        Ok(Self { balancers, others })
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        self.others.iter().chain(&self.balancers)
    }

    /// Without the servers behind SSH that run this very build: they are asked all at once.
    fn outdated(self) -> Self {
        let is_same = |server: &Server| {
            server.ssh().is_some() && server.build().ok() == server.running_build()
        };
        let all: Vec<Server> = self.all().cloned().collect();
        let same = fleet::on_each(&all, is_same);
        let same: BTreeSet<&ServerName> =
            all.iter().zip(same).filter(|(_, same)| *same).map(|(own, _)| own.name()).collect();
        let outdated = |servers: Vec<Server>| -> Vec<Server> {
            servers.into_iter().filter(|own| !same.contains(own.name())).collect()
        };
        Self { balancers: outdated(self.balancers), others: outdated(self.others) }
    }

    /// Puts this build on the servers: on several at once, and on one balancer after the other once
    /// what they send to is new. What became of each is heard in this order; after an error no other
    /// server is begun with.
    fn exchange(
        &self,
        context: &Context,
        downgrade: bool,
        mut hear: impl FnMut(&Server, Result<Exchange, AgentError>) -> Result<(), Complaint>,
    ) -> Result<(), Complaint> {
        for some in self.others.chunks(AT_ONCE).chain(self.balancers.chunks(1)) {
            let results = fleet::on_each(some, |server| exchange(context, server, downgrade));
            let mut heard = Ok(());
            for (server, result) in some.iter().zip(results) {
                heard = heard.and(hear(server, result));
            }
            heard?;
        }
        Ok(())
    }
}

/// Before a command acts: agent and proxy are of its build, or newer.
pub fn renew(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    Fleet::of(context)?.outdated().exchange(context, false, |server, exchanged| {
        let place = place(context, server);
        let exchanged = match exchanged {
            // Which of the others a command can do without it, it finds out itself.
            Err(error) if !place.is_empty() && error.may_pass() => {
                screen.warn(&format!("{place}{}", local::reason(&error)));
                return Ok(());
            }
            other => other.map_err(|error| fleet::complaint(server, &error))?,
        };
        match exchanged {
            Exchange { renewal: Renewal::Same, .. } => {}
            Exchange { renewal: Renewal::Newer(running), .. } => screen.warn(&format!(
                "{place}onward {} runs here and this is {}: it goes on with the newer one. `onward \
                 agent upgrade --downgrade` puts this one in its place",
                running.version,
                onward_server::build::VERSION
            )),
            Exchange { renewal: Renewal::Replaced(replaced), counted } => {
                tell_replaced(server, &replaced, counted.as_ref(), &place, screen);
                if let Some(why) = &replaced.problem {
                    screen.warn(&format!("{place}the proxy is not replaced and goes on: {why}"));
                }
            }
        }
        Ok(())
    })
}

fn tell_replaced(
    server: &Server,
    replaced: &Replaced,
    counted: Option<&Counted>,
    place: &str,
    screen: &Screen,
) {
    let mut fields = as_json(replaced, counted);
    fields["event"] = json!("upgraded");
    fields["server"] = json!(server.name());
    screen.event(&fields);
    screen.note(&format!("  {place}{}", sentence(replaced, counted)));
}

/// Which server is meant, where there are several.
fn place(context: &Context, server: &Server) -> String {
    let alone = fleet::wished(context).len() == 1 && *server.name() == local::server_name();
    if alone { String::new() } else { format!("{}: ", server.name()) }
}

/// `onward agent upgrade`: the same and nothing else.
pub fn upgrade(context: &Context, downgrade: bool, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    context.prepare()?;
    let mut counts: Vec<Option<Counted>> = Vec::new();
    Fleet::of(context)?.outdated().exchange(context, downgrade, |server, exchanged| {
        match exchanged.map_err(|error| fleet::complaint(server, &error))? {
            Exchange { renewal: Renewal::Same, .. } => {}
            Exchange { renewal: Renewal::Newer(running), .. } => {
                return Err(is_newer(&running, !counts.is_empty()));
            }
            Exchange { renewal: Renewal::Replaced(replaced), counted } => {
                let place = place(context, server);
                tell_replaced(server, &replaced, counted.as_ref(), &place, screen);
                if let Some(why) = &replaced.problem {
                    return Err(not_replaced(server, why));
                }
                counts.push(counted);
            }
        }
        Ok(())
    })?;
    let own = onward_server::build::VERSION;
    if counts.is_empty() {
        screen.success(&format!("Nothing changed: onward {own} is what runs"));
        screen.finished(true, json!({"outcome": "unchanged"}));
        return Ok(Exit::Done);
    }
    screen.success(&format!("onward {own} is what runs now"));
    // Nothing is said of all when it is not known of each.
    let sum = |what: fn(&Counted) -> u64| -> Option<u64> {
        counts.iter().map(|counted| counted.as_ref().map(what)).sum()
    };
    screen.finished(
        true,
        json!({
            "outcome": "done",
            "requests": sum(|counted| counted.requests),
            "lost": sum(|counted| counted.lost),
        }),
    );
    Ok(Exit::Done)
}

fn is_newer(running: &Build, replaced_any: bool) -> Complaint {
    let own = onward_server::build::VERSION;
    let fact = if replaced_any {
        "The servers that are named above have it, and no other"
    } else {
        "Nothing was replaced"
    };
    let what = format!("onward {} runs here, and this is the older {own}", running.version);
    Complaint::new(Exit::Refused, what)
        .fact(fact)
        .hint("`onward agent upgrade --downgrade` puts the older one in its place")
}

fn not_replaced(server: &Server, why: &str) -> Complaint {
    Complaint::new(Exit::Failed, format!("the proxy is not replaced: {why}"))
        .fact("The old proxy goes on, and the agent is replaced")
        .hint(match server.local() {
            Some(server) => {
                format!("{} has what it printed", server.root().join("proxy.log").display())
            }
            None => "`journalctl -u 'onward-proxy@*'` there has what it printed".to_owned(),
        })
        .hint("`onward agent upgrade` tries it again")
}

/// For a command that reads: says when what runs is of another version.
pub fn tell(context: &Context, screen: &Screen) {
    // Without a document that can be read there is nobody to ask; others tell of that.
    let Ok(fleet) = Fleet::of(context) else { return };
    for server in fleet.all() {
        let Some(running) = server.running_build() else { continue };
        let Ok(own) = server.build() else { continue };
        let what = match own.skew(&running) {
            Skew::Newer => "the next command that acts replaces it",
            Skew::Older => "commands of this version go on with the newer one",
            Skew::Same | Skew::Rebuilt => continue,
        };
        screen.warn(&format!(
            "{}onward {running} runs here and this is {}: {what}",
            place(context, server),
            own.version
        ));
    }
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

fn exchange(context: &Context, server: &Server, downgrade: bool) -> Result<Exchange, AgentError> {
    let traffic = || fleet::report(context, server).and_then(|report| report.traffic);
    let own = server.build();
    let is_other = own.is_ok_and(|own| server.running_build().is_some_and(|it| it != own));
    let before = if is_other { traffic() } else { None };
    let renewal = server.renew(downgrade)?;
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
