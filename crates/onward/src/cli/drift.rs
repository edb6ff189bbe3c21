//! What is not as onward put it there, or not as the project file says: named, with what to type.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onward_core::document::Document;
use onward_core::model::{Role, ServerName};
use onward_core::report::Report;
use onward_server::looking::{Changed, Checkup};
use serde::Serialize;

use super::context::Context;
use super::fleet;
use super::ways;
use crate::project::wishes;
use crate::providers::Server;

/// The difference of clocks that is told: certificates and schedules begin to suffer.
pub const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(5);

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The server.
    pub server: ServerName,
    /// What is different, as a sentence without its full stop.
    pub text: String,
    /// What to type to adopt it, or to mend it.
    pub fix: String,
}

/// All differences, server by server. Those that do not answer are not asked again.
pub fn of(
    context: &Context,
    document: &Document,
    reports: &BTreeMap<ServerName, Option<Report>>,
) -> Vec<Drift> {
    let mut drift = from_file(context, document);
    let servers = fleet::servers(context, Some(document));
    let answered = |server: &Server| reports.get(server.name()).is_some_and(Option::is_some);
    let servers: Vec<_> = servers.into_iter().filter(answered).collect();
    let looked = fleet::on_each(&servers, |server| look(context, server));
    for (server, (checkup, ahead)) in servers.iter().zip(looked) {
        drift.extend(differences(server.name(), &checkup, ahead));
    }
    drift
}

/// How a server is, and by how much its clock is ahead. An agent that is too old to say has nothing to
/// tell.
pub fn look(context: &Context, server: &Server) -> (Checkup, SignedDuration) {
    let Some(mut agent) = server.running_agent() else { return Default::default() };
    let clock = agent.hello().ok().and_then(|hello| hello.clock);
    let ahead = clock.map(|clock| clock.duration_since(Timestamp::now())).unwrap_or_default();
    (agent.checkup(context.app(), context.environment()).unwrap_or_default(), ahead)
}

/// What a look found.
fn differences(server: &ServerName, checkup: &Checkup, ahead: SignedDuration) -> Vec<Drift> {
    let drift = |text: String, fix: String| Drift { server: server.clone(), text, fix };
    let mut all = Vec::new();
    for changed in &checkup.changed {
        all.push(match changed {
            Changed::Unit { path } if path.contains(".d/") => drift(
                format!("{path} changes a unit of onward"),
                format!(
                    "`onward ssh {server} -- rm {path}` and `systemctl daemon-reload` take it away"
                ),
            ),
            Changed::Unit { path } => drift(
                format!("{path} was changed by hand"),
                format!(
                    "`onward ssh {server} -- /var/lib/onward/bin/current agent install --server \
                     {server}` writes it anew"
                ),
            ),
            Changed::Release { release, text } => drift(
                format!("the files of release {release} were changed by hand: {text}"),
                "make the change in the project, then `onward deploy --force` replaces them"
                    .to_owned(),
            ),
        });
    }
    if ahead.abs() >= CLOCKS_DIFFER {
        all.push(drift(
            clock_text(ahead),
            format!("`onward ssh {server} -- timedatectl` shows why"),
        ));
    }
    all
}

/// How a clock differs, for people.
pub fn clock_text(ahead: SignedDuration) -> String {
    let seconds = ahead.as_secs().abs();
    let side = if ahead.is_negative() { "behind" } else { "ahead of" };
    format!("its clock is {seconds} s {side} the one here")
}

/// What the document has otherwise than the project file, moves by hand apart.
fn from_file(context: &Context, document: &Document) -> Vec<Drift> {
    let takes = |verb: &str| format!("`onward up` {verb}");
    let mut all = Vec::new();
    let mut wished: BTreeMap<_, _> = wishes::servers(&context.resolved).into_iter().collect();
    for (server, roles) in &mut wished {
        document.demand.move_roles(server, roles);
        let Some(own) = document.servers.get(server) else {
            let text = "it is in onward.toml, and not part of the environment yet".to_owned();
            all.push(Drift { server: server.clone(), text, fix: takes("makes it so") });
            continue;
        };
        if own.roles != *roles {
            let text = format!(
                "it has the roles {}; onward.toml says {}",
                listed(&own.roles),
                listed(roles)
            );
            all.push(Drift { server: server.clone(), text, fix: takes("makes it so") });
        }
        let said = context.ways().and_then(|all| ways::in_document(&all.server(server)));
        if let (Some(kept), Some((_, said))) = (&own.reach, said) {
            if kept.host != said.host {
                let text = format!("it is at {} now, and was at {}", said.host, kept.host);
                all.push(Drift { server: server.clone(), text, fix: takes("writes that down") });
            }
            if kept.host_key != said.host_key {
                let text = "its host key is another one than the state has".to_owned();
                all.push(Drift { server: server.clone(), text, fix: takes("writes that down") });
            }
        }
    }
    for server in document.servers.keys().filter(|name| !wished.contains_key(*name)) {
        let text = "it is not in onward.toml any more".to_owned();
        all.push(Drift { server: server.clone(), text, fix: takes("empties it and lets it go") });
    }
    all
}

fn listed(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_says_what_to_type() {
        let server: ServerName = "one".parse().unwrap();
        let changed = vec![
            Changed::Unit { path: "/etc/systemd/system/onward-agent.service".to_owned() },
            Changed::Unit {
                path: "/etc/systemd/system/onward-agent.service.d/own.conf".to_owned(),
            },
            Changed::Release {
                release: onward_core::model::ReleaseNumber(3),
                text: "index.html differs".to_owned(),
            },
        ];
        let checkup = Checkup { changed, ..Checkup::default() };
        let found = differences(&server, &checkup, SignedDuration::from_secs(-600));
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|drift| drift.fix.contains("`onward ")));
        assert_eq!(found[3].text, "its clock is 600 s behind the one here");
        assert!(differences(&server, &Checkup::default(), SignedDuration::from_secs(1)).is_empty());
    }
}
