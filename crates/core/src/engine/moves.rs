//! Roles that somebody moved past the project file.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::document::{Document, Moved};
use crate::model::{Role, ServerName};

/// The role of the server that keeps the state.
const MANAGER: &str = "manager";

/// Why a role cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotMove {
    /// No server has it.
    #[error("no server has the role `{0}`")]
    Nowhere(Role),
    /// The server that it shall leave does not have it.
    #[error("`{server}` does not have the role `{role}`")]
    NotThere {
        /// The role.
        role: Role,
        /// The server.
        server: ServerName,
    },
    /// Several servers have it, and none was named.
    #[error("several servers have the role `{role}`: {}", listed(.servers))]
    SeveralHave {
        /// The role.
        role: Role,
        /// The servers.
        servers: BTreeSet<ServerName>,
    },
}

fn listed(names: &BTreeSet<ServerName>) -> String {
    names.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ")
}

/// The servers that have a role.
fn holders(document: &Document, role: &Role) -> BTreeSet<ServerName> {
    let servers = document.servers.iter().filter(|(_, own)| own.roles.contains(role));
    servers.map(|(name, _)| name.clone()).collect()
}

/// Puts a move into the demand. A role that is where it shall be already is left alone.
pub(super) fn ask(
    next: &mut Document,
    (role, to): (&Role, &ServerName),
    from: Option<&ServerName>,
    by: &str,
    now: Timestamp,
) -> Result<(), CannotMove> {
    let mut servers = holders(next, role);
    if servers.is_empty() && role.as_str() == MANAGER {
        // The first server of the file has it when nobody is said to have it.
        let moved = Moved { servers: [to.clone()].into(), by: by.to_owned(), at: now };
        next.demand.moved.insert(role.clone(), moved);
        apply(next);
        return Ok(());
    }
    let leaves = match (from, servers.len()) {
        (_, 0) => return Err(CannotMove::Nowhere(role.clone())),
        (Some(from), _) if servers.contains(from) => from.clone(),
        (Some(from), _) => {
            return Err(CannotMove::NotThere { role: role.clone(), server: from.clone() });
        }
        (None, 1) => servers.first().cloned().unwrap_or_else(|| to.clone()),
        (None, _) => return Err(CannotMove::SeveralHave { role: role.clone(), servers }),
    };
    if leaves == *to {
        return Ok(());
    }
    servers.remove(&leaves);
    servers.insert(to.clone());
    let moved = Moved { servers, by: by.to_owned(), at: now };
    next.demand.moved.insert(role.clone(), moved);
    apply(next);
    Ok(())
}

/// Takes the moves of the demand over, for the servers of the project file: what the file says too,
/// and what led to servers that are no more, is dropped.
pub(super) fn follow(next: &mut Document) {
    let mut moved = std::mem::take(&mut next.demand.moved);
    moved.retain(|role, own| {
        own.servers.retain(|name| next.servers.contains_key(name));
        !own.servers.is_empty() && own.servers != holders(next, role)
    });
    next.demand.moved = moved;
    apply(next);
}

fn apply(next: &mut Document) {
    for (name, server) in &mut next.servers {
        next.demand.move_roles(name, &mut server.roles);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::document::Server;
    use crate::model::WriteId;

    fn name<T: std::str::FromStr>(text: &str) -> T {
        text.parse().unwrap_or_else(|_| panic!("a legal name: {text}"))
    }

    fn server(roles: &[&str]) -> Server {
        let roles = roles.iter().map(|role| name(role)).collect();
        Server { address: "10.0.0.1:80".to_owned(), roles, reach: None }
    }

    fn file() -> BTreeMap<ServerName, Server> {
        let all = server(&["balancer", "web", "worker"]);
        BTreeMap::from([(name("all"), all), (name("two"), server(&["web"]))])
    }

    fn document() -> Document {
        let by = WriteId::new("1");
        let first = Document::first(name("shop"), name("qa"), by, Timestamp::UNIX_EPOCH);
        Document { servers: file(), ..first }
    }

    fn moved(
        document: &mut Document,
        role: &str,
        to: &str,
        from: Option<&str>,
    ) -> Result<(), String> {
        let (role, to, from): (Role, ServerName, Option<ServerName>) =
            (name(role), name(to), from.map(name));
        ask(document, (&role, &to), from.as_ref(), "ana", Timestamp::UNIX_EPOCH)
            .map_err(|why| why.to_string())
    }

    fn of(document: &Document, role: &str) -> String {
        listed(&holders(document, &name(role)))
    }

    #[test]
    fn a_moved_role_wins_until_the_file_says_the_same() {
        let mut document = document();
        moved(&mut document, "worker", "two", None).unwrap();
        assert_eq!(of(&document, "worker"), "two");
        assert_eq!(of(&document, "web"), "all, two", "others stay");

        document.servers = file();
        follow(&mut document);
        assert_eq!(of(&document, "worker"), "two", "the file says something else");
        assert_eq!(document.demand.moved.len(), 1);

        document.servers = file();
        let roles = |all: &[&str]| server(all).roles;
        document.servers.get_mut(&name::<ServerName>("all")).unwrap().roles =
            roles(&["balancer", "web"]);
        document.servers.get_mut(&name::<ServerName>("two")).unwrap().roles =
            roles(&["web", "worker"]);
        follow(&mut document);
        assert_eq!(of(&document, "worker"), "two");
        assert!(document.demand.moved.is_empty(), "the file says the same");
    }

    #[test]
    fn a_move_to_a_server_that_is_no_more_is_dropped() {
        let mut document = document();
        moved(&mut document, "worker", "two", None).unwrap();
        document.servers = BTreeMap::from([(name("all"), server(&["balancer", "web", "worker"]))]);
        follow(&mut document);
        assert_eq!(of(&document, "worker"), "all");
        assert!(document.demand.moved.is_empty());
    }

    #[test]
    fn what_cannot_be_moved_says_why() {
        let mut document = document();
        let before = document.clone();
        let refused = [
            moved(&mut document, "db", "two", None),
            moved(&mut document, "web", "two", None),
            moved(&mut document, "worker", "all", Some("two")),
        ];
        let refused = refused.map(Result::unwrap_err);
        assert_eq!(refused[0], "no server has the role `db`");
        assert_eq!(refused[1], "several servers have the role `web`: all, two");
        assert_eq!(refused[2], "`two` does not have the role `worker`");
        moved(&mut document, "worker", "all", None).unwrap();
        assert_eq!(document, before, "it is there already");
        moved(&mut document, "web", "two", Some("all")).unwrap();
        assert_eq!(of(&document, "web"), "two");
    }
}
