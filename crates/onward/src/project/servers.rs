//! The servers of an environment: `count`, `servers`, and which processes run where.

use std::collections::BTreeSet;

use onward_core::model::Role;

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::{Process, Provider, ServerWish, Servers};
use super::parse::name;
use super::reach;
use super::read::{Item, Section, Sink};
use super::suggest;

/// The most servers of one environment on this machine: each is an agent, a proxy and a set of
/// processes, and more than these only test the machine.
pub const SERVERS_MAX: u32 = 20;
/// The most servers of one environment elsewhere: a command has a child process for each.
pub const SERVERS_ELSEWHERE_MAX: u32 = 1_000;

/// Sends requests on to the other servers.
pub const BALANCER: &str = "balancer";
/// Keeps the documents, and runs what shall run once.
pub const MANAGER: &str = "manager";

/// The roles that mean something without a process of their name.
const KNOWN: [&str; 7] = [BALANCER, MANAGER, "web", "worker", "db", "cache", "broker"];

/// Where the parts of `servers` are.
struct Place {
    whole: Span,
    names: Vec<Span>,
    roles: Vec<(Role, Span)>,
}

/// Reads `count` and `servers` of an environment, and holds them against the processes.
pub(super) fn read(
    section: &mut Section<'_>,
    provider: Option<Provider>,
    processes: &[Process],
    sink: &mut Sink,
) -> Servers {
    let count = section.get("count");
    let list = section.get("servers");
    if provider == Some(Provider::Ssh) {
        if let Some(count) = &count {
            cannot_count(count, sink);
            return list
                .map_or_else(Servers::default, |list| named(&list, provider, processes, sink));
        }
        if list.is_none() {
            no_servers(section, sink);
        }
    }
    match (count, list) {
        (None, None) => Servers::default(),
        (Some(count), None) => {
            count.number(sink, 1, SERVERS_MAX).map_or_else(Servers::default, Servers::Count)
        }
        (None, Some(list)) => named(&list, provider, processes, sink),
        (Some(count), Some(list)) => {
            let found = Diagnostic::error(
                Code::Conflict,
                list.key_span.clone(),
                format!("{} has `count` and `servers`", section.title()),
                "names the servers",
            );
            let help = "keep `count` for servers that are all alike, `servers` to name them";
            sink.push(found.also(count.key_span.clone(), "counts them").help(help));
            Servers::default()
        }
    }
}

/// Servers that somebody has cannot be counted: each has an address.
fn cannot_count(count: &Item<'_>, sink: &mut Sink) {
    let found = Diagnostic::error(
        Code::Meaningless,
        count.key_span.clone(),
        "`count` means nothing with the provider `ssh`",
        "every server has an address of its own",
    );
    sink.push(found.help("name them: `servers = [{ name = \"one\", address = \"203.0.113.7\" }]`"));
}

fn no_servers(section: &Section<'_>, sink: &mut Sink) {
    let message = format!("{} has no servers", section.title());
    let span = section.span.clone();
    let found = Diagnostic::error(Code::MissingKey, span, message, "`servers` is missing");
    sink.push(found.help("name them: `servers = [{ name = \"one\", address = \"203.0.113.7\" }]`"));
}

fn named(
    list: &Item<'_>,
    provider: Option<Provider>,
    processes: &[Process],
    sink: &mut Sink,
) -> Servers {
    let elsewhere = provider == Some(Provider::Ssh);
    let help = if elsewhere {
        "name each: `servers = [{ name = \"one\", address = \"203.0.113.7\" }]`"
    } else {
        "name each: `servers = [{ name = \"one\" }]`; `count = 3` makes three that are alike"
    };
    let Some(items) = list.list_or(sink, help) else { return Servers::default() };
    if items.is_empty() {
        let message = format!("`{}` names no server", list.path);
        let found = Diagnostic::error(Code::MissingKey, list.value_span(), message, "empty");
        sink.push(found.help("name one: `servers = [{ name = \"one\" }]`, or remove the line"));
    }
    let most = if elsewhere { SERVERS_ELSEWHERE_MAX } else { SERVERS_MAX };
    if let Some(beyond) = items.get(most as usize) {
        let message = format!("`{}` names more than {most} servers", list.path);
        let found =
            Diagnostic::error(Code::InvalidNumber, beyond.value_span(), message, "one too many");
        let whose = if elsewhere { "an environment" } else { "an environment on one machine" };
        sink.push(found.help(format!("{whose} has at most so many")));
    }
    let mut place = Place { whole: list.key_span.clone(), names: Vec::new(), roles: Vec::new() };
    let mut wishes: Vec<ServerWish> = Vec::new();
    for item in &items {
        let Some((wish, span)) = server(item, provider, &mut place, sink) else { continue };
        if let Some(at) = wishes.iter().position(|other| other.name == wish.name) {
            let found = Diagnostic::error(
                Code::Repeated,
                span.clone(),
                format!("two servers are called `{}`", wish.name),
                "the second",
            );
            let help = "give one of them another name";
            sink.push(found.also(place.names[at].clone(), "the first").help(help));
        } else if let Some(at) = wishes.iter().position(|other| same_machine(other, &wish)) {
            let found = Diagnostic::error(
                Code::Repeated,
                span.clone(),
                format!("`{}` has the address of `{}`", wish.name, wishes[at].name),
                "the second",
            );
            let help = "one machine is one server: give it both `roles`, or correct the address";
            sink.push(found.also(place.names[at].clone(), "the first").help(help));
        }
        place.names.push(span);
        wishes.push(wish);
    }
    if wishes.len() == items.len() && !items.is_empty() {
        everything_runs(&wishes, &place, processes, sink);
        roles_are_used(&place, processes, sink);
    }
    Servers::Named(wishes)
}

fn same_machine(one: &ServerWish, other: &ServerWish) -> bool {
    let place = |wish: &ServerWish| wish.reach.as_ref().map(|own| (own.address.clone(), own.port));
    place(one).is_some() && place(one) == place(other)
}

/// One server of the list, and where its name is.
fn server(
    item: &Item<'_>,
    provider: Option<Provider>,
    place: &mut Place,
    sink: &mut Sink,
) -> Option<(ServerWish, Span)> {
    if !item.is_table() {
        let help = "write each server as `{ name = \"one\", roles = [\"web\"] }`";
        return item.wrong(sink, "a list of tables", help);
    }
    let mut section = item.table(sink)?;
    let text = section.get("name").map(|item| item.text(sink));
    if text.is_none() {
        let message = "a server has no name";
        let span = section.span.clone();
        let found = Diagnostic::error(Code::MissingKey, span, message, "`name` is missing");
        sink.push(found.help("write `{ name = \"one\" }`"));
    }
    let roles = section.get("roles").and_then(|item| item.texts(sink)).map(|texts| {
        let named = texts.into_iter().filter_map(|text| {
            let role: Role = name(sink, "a role", text.text, text.span.clone())?;
            place.roles.push((role.clone(), text.span));
            Some(role)
        });
        named.collect::<BTreeSet<Role>>()
    });
    let reach = reach::read(&mut section, provider, sink);
    section.finish(sink);
    let text = text??;
    let name = name(sink, "a server", text.text, text.span.clone())?;
    Some((ServerWish { name, roles, reach }, text.span))
}

/// Every process has a server, and several servers a balancer.
fn everything_runs(wishes: &[ServerWish], place: &Place, processes: &[Process], sink: &mut Sink) {
    // A server without `roles` has every role of processes; the first one of several also balances.
    let implicit = wishes.iter().any(|wish| wish.roles.is_none());
    let has = |role: &str| {
        let all = wishes.iter().filter_map(|wish| wish.roles.as_ref()).flatten();
        all.into_iter().any(|own| own.as_str() == role)
    };
    for process in processes.iter().filter(|_| !implicit) {
        let roles = process.roles();
        if roles.iter().any(|role| has(role)) {
            continue;
        }
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        let found = Diagnostic::error(
            Code::NoServer,
            place.whole.clone(),
            format!("no server would run the process `{}`", process.name),
            format!("none has the role {}", suggest::list(&names)),
        );
        let help = format!("add \"{}\" to the `roles` of a server", names[0]);
        sink.push(found.help(help));
    }
    let serves = processes.iter().any(|process| process.name.has_traffic());
    let balances = has(BALANCER) || wishes.first().is_some_and(|wish| wish.roles.is_none());
    if wishes.len() > 1 && serves && !balances {
        let found = Diagnostic::error(
            Code::NoServer,
            place.whole.clone(),
            "no server is a balancer",
            "requests would reach one of them only",
        );
        let help = "add \"balancer\" to the `roles` of the server that people shall reach";
        sink.push(found.help(help));
    }
}

fn roles_are_used(place: &Place, processes: &[Process], sink: &mut Sink) {
    let used: BTreeSet<String> = processes.iter().flat_map(Process::roles).collect();
    for (role, span) in &place.roles {
        if KNOWN.contains(&role.as_str()) || used.contains(role.as_str()) {
            continue;
        }
        let candidates: Vec<&str> =
            KNOWN.into_iter().chain(used.iter().map(String::as_str)).collect();
        let message = format!("nothing uses the role `{role}`");
        let found = Diagnostic::warning(Code::Meaningless, span.clone(), message, "no process");
        sink.push(match suggest::nearest(role.as_str(), &candidates) {
            Some(meant) => found.help(format!("did you mean `\"{meant}\"`?")),
            None => found.help(format!("a process runs there with `on = [\"{role}\"]`")),
        });
    }
}

/// `on` of a process: the roles of the servers that run it; empty when the file does not say.
pub(super) fn on(section: &mut Section<'_>, sink: &mut Sink) -> Vec<Role> {
    let Some(item) = section.get("on") else { return Vec::new() };
    let Some(texts) = item.texts(sink) else { return Vec::new() };
    if texts.is_empty() {
        let found = Diagnostic::error(
            Code::NoServer,
            item.value_span(),
            format!("`{}` names no role", item.path),
            "no server would run it",
        );
        sink.push(found.help("name one, or remove the line: then it is the process's own name"));
    }
    let mut roles: Vec<(Role, Span)> = Vec::new();
    for text in texts {
        let Some(role) = name::<Role>(sink, "a role", text.text, text.span.clone()) else {
            continue;
        };
        if let Some((_, first)) = roles.iter().find(|(own, _)| *own == role) {
            let found = Diagnostic::error(
                Code::Repeated,
                text.span.clone(),
                format!("`{}` lists `{role}` twice", text.path),
                "listed again",
            );
            sink.push(found.also(first.clone(), "first here").help("remove one of the two"));
        }
        roles.push((role, text.span));
    }
    roles.into_iter().map(|(role, _)| role).collect()
}
