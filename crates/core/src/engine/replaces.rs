//! Machines that take the place of others: the old one leaves, then the new one joins.
//!
//! Between the two the server is out of the environment, and the demand says so: whoever finds it
//! there, after a crash, brings the new machine in.

use jiff::Timestamp;

use super::submit::Refusal;
use crate::document::{Document, Replacing, Server};
use crate::model::ServerName;

/// Why a machine cannot take the place of another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotReplace {
    /// Nothing is left without it.
    #[error("`{0}` is the only server")]
    OnlyServer(ServerName),
    /// Nobody asked for it.
    #[error("`{0}` is not being replaced")]
    NotBegun(ServerName),
    /// The machine that is given up.
    #[error("`{0}` is still the machine that is being replaced")]
    SameMachine(ServerName),
}

/// Takes a server out of the environment, until another machine takes its place. One that is out
/// already is left alone.
pub(super) fn leave(
    next: &mut Document,
    server: &ServerName,
    by: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    next.serving.ok_or(Refusal::NothingReleased)?;
    if !next.servers.contains_key(server) {
        return match next.demand.replacing.contains_key(server) {
            true => Ok(()),
            false => Err(Refusal::UnknownServer(server.clone())),
        };
    }
    if next.servers.len() == 1 {
        return Err(CannotReplace::OnlyServer(server.clone()).into());
    }
    if let Some(old) = next.servers.remove(server) {
        let replacing = Replacing { old, by: by.to_owned(), at: now };
        next.demand.replacing.insert(server.clone(), replacing);
    }
    Ok(())
}

/// Brings the new machine in, with the roles of the old one. One that is in already is left alone.
pub(super) fn join(
    next: &mut Document,
    server: &ServerName,
    machine: &Server,
) -> Result<(), Refusal> {
    next.serving.ok_or(Refusal::NothingReleased)?;
    let Some(replacing) = next.demand.replacing.get(server) else {
        let is_there = next.servers.get(server).is_some_and(|own| own.shows_key_of(machine));
        return match is_there {
            true => Ok(()),
            false => Err(CannotReplace::NotBegun(server.clone()).into()),
        };
    };
    if machine.reach.is_some() && machine.shows_key_of(&replacing.old) {
        return Err(CannotReplace::SameMachine(server.clone()).into());
    }
    let mut roles = replacing.old.roles.clone();
    next.demand.move_roles(server, &mut roles);
    next.servers.insert(server.clone(), Server { roles, ..machine.clone() });
    next.demand.replacing.remove(server);
    Ok(())
}

/// After the servers of the project file were taken over: none of them is still replaced. A machine
/// that was given up does not come back by itself.
pub(super) fn follow(next: &mut Document) -> Result<(), CannotReplace> {
    let replacing = std::mem::take(&mut next.demand.replacing);
    for (name, own) in replacing {
        let now = next.servers.get(&name);
        if now.is_some_and(|now| now.reach.is_some() && now.shows_key_of(&own.old)) {
            return Err(CannotReplace::SameMachine(name));
        }
    }
    Ok(())
}

/// A server that never left is not replaced: what would have taken it out has failed.
pub(super) fn take_back(next: &mut Document) {
    let Document { demand, servers, .. } = next;
    demand.replacing.retain(|name, _| !servers.contains_key(name));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::document::{Reach, Replacing};
    use crate::engine::{Advance, Ask, Request, Submitted, advance, submit};
    use crate::model::{BundleRef, Config, Digest, Release, ReleaseNumber, RequestId, WriteId};
    use crate::order::Level;
    use crate::report::{Contact, Contacts, ReleaseReport, Report};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn name(text: &str) -> ServerName {
        text.parse().expect("a legal name")
    }

    fn server(host: &str, key: &str) -> Server {
        let reach =
            Reach { host: host.to_owned(), user: None, port: None, host_key: key.to_owned() };
        let roles = ["web", "worker"].map(|role| role.parse().expect("a legal name")).into();
        Server { address: format!("{host}:80"), roles, reach: Some(reach) }
    }

    /// Release 1 of an app without processes serves on `one` and `two`.
    fn document() -> Document {
        let first = Document::first(
            "shop".parse().expect("a legal name"),
            "qa".parse().expect("a legal name"),
            WriteId::new("1"),
            NOW,
        );
        let bundle = BundleRef { digest: Digest::of(b"1"), label: "1".to_owned() };
        let number = ReleaseNumber(1);
        let release = Release { number, bundle, config: Arc::new(Config::default()), created: NOW };
        Document {
            servers: [(name("one"), server("a", "A")), (name("two"), server("b", "B"))].into(),
            releases: [(number, release)].into(),
            serving: Some(number),
            last_release: number,
            demand: crate::document::Demand { release: Some(number), ..<_>::default() },
            ..first
        }
    }

    fn asked(document: &Document, ask: Ask) -> Submitted {
        let id = RequestId::new(&format!("{:?}", document.last_operation));
        let request = Request {
            id,
            ask,
            by: "ana".to_owned(),
            planned_at: None,
            without: std::collections::BTreeSet::new(),
        };
        submit(document, &request, NOW)
    }

    /// Records what is asked and carries it to its end, with servers that do all they are ordered.
    fn done(document: &Document, ask: Ask) -> Document {
        let Submitted::Record(next, _) = asked(document, ask) else { panic!("it is recorded") };
        let mut document = *next;
        for _ in 0..10 {
            document.generation = document.generation.next();
            let own = ReleaseReport { level: Level::Routed, ..<_>::default() };
            let report = Report {
                releases: [(ReleaseNumber(1), own)].into(),
                accepted: document.generation,
                converged: true,
                routed: document.serving,
                ..Report::default()
            };
            let contact = || Contact::Reached(Box::new(report.clone()));
            let contacts: Contacts =
                document.everywhere().map(|server| (server.clone(), contact())).collect();
            match advance(&document, &contacts, NOW) {
                Advance::Write(next) => document = *next,
                Advance::Rest => return document,
                Advance::Wait => panic!("nobody waits: {:?}", document.operation),
            }
        }
        panic!("it ends: {:?}", document.operation)
    }

    fn leave(of: &Document) -> Document {
        done(of, Ask::Replace { server: name("two") })
    }

    fn join(of: &Document, machine: Server) -> Submitted {
        asked(of, Ask::Join { server: name("two"), machine: Box::new(machine) })
    }

    #[test]
    fn the_old_machine_leaves_and_the_new_one_gets_its_roles() {
        let left = leave(&document());
        assert_eq!(left.servers.keys().collect::<Vec<_>>(), [&name("one")]);
        let Replacing { old, by, .. } = &left.demand.replacing[&name("two")];
        assert_eq!((old, by.as_str()), (&server("b", "B"), "ana"));
        assert_eq!(left.gone[0].server, server("b", "B"), "onward is still on it");
        assert_eq!(Document::decode(&left.encode()), Ok(left.clone()));

        let bare = Server { roles: std::collections::BTreeSet::new(), ..server("c", "C") };
        let joined =
            done(&left, Ask::Join { server: name("two"), machine: Box::new(bare.clone()) });
        assert_eq!(joined.servers[&name("two")], server("c", "C"));
        assert!(joined.demand.replacing.is_empty());
        assert_eq!(joined.gone.len(), 1, "until it is taken off");
        assert_eq!(join(&joined, bare), Submitted::Unchanged);
    }

    #[test]
    fn a_machine_at_the_same_place_leaves_nothing_behind() {
        let left = leave(&document());
        let joined =
            done(&left, Ask::Join { server: name("two"), machine: Box::new(server("b", "new")) });
        assert!(joined.gone.is_empty(), "{:?}", joined.gone);
    }

    #[test]
    fn the_machine_that_was_given_up_does_not_come_back() {
        let left = leave(&document());
        let again = CannotReplace::SameMachine(name("two"));
        assert_eq!(join(&left, server("z", "B")), Submitted::Refused(again.clone().into()));
        let of_file = Ask::Deploy {
            bundle: left.releases[&ReleaseNumber(1)].bundle.clone(),
            config: Arc::new(Config::default()),
            servers: document().servers,
            force: false,
            reset: false,
        };
        assert_eq!(asked(&left, of_file), Submitted::Refused(again.into()));
        // Other servers, or the new machine, are what the project file may say.
        for machine in [None, Some(server("c", "C"))] {
            let mut servers = document().servers;
            servers.remove(&name("two"));
            servers.extend(machine.map(|own| (name("two"), own)));
            let of_file = Ask::Deploy {
                bundle: left.releases[&ReleaseNumber(1)].bundle.clone(),
                config: Arc::new(Config::default()),
                servers: servers.clone(),
                force: true,
                reset: false,
            };
            let Submitted::Record(next, _) = asked(&left, of_file) else { panic!("it is taken") };
            assert_eq!(next.servers, servers);
            assert!(next.demand.replacing.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        let mut only = document();
        only.servers.remove(&name("one"));
        let refused = asked(&only, Ask::Replace { server: name("two") });
        assert_eq!(refused, Submitted::Refused(CannotReplace::OnlyServer(name("two")).into()));
        let refused = asked(&document(), Ask::Replace { server: name("six") });
        assert_eq!(refused, Submitted::Refused(Refusal::UnknownServer(name("six"))));
        let refused = join(&document(), server("c", "C"));
        assert_eq!(refused, Submitted::Refused(CannotReplace::NotBegun(name("two")).into()));
        let left = leave(&document());
        assert_eq!(asked(&left, Ask::Replace { server: name("two") }), Submitted::Unchanged);
    }

    #[test]
    fn one_that_could_not_leave_is_not_replaced() {
        let Submitted::Record(next, _) = asked(&document(), Ask::Replace { server: name("two") })
        else {
            panic!("it is recorded")
        };
        let aborted = asked(&next, Ask::Abort);
        let Submitted::Record(aborted, _) = aborted else { panic!("it is not decided") };
        assert_eq!(aborted.servers, document().servers);
        assert!(aborted.demand.replacing.is_empty() && aborted.gone.is_empty());
    }
}
