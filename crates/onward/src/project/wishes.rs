//! From the project file's wishes to what a release keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onward_core::model::{
    Config, Probe as ReleaseProbe, ProbeKind, Process, ProcessName, Role, Routing, Run, ServerName,
    SiteRules, Stop,
};
use onward_core::secrets::SecretVersion;

use crate::runtimes::InUse;

use super::{
    BALANCER, LOCAL, MANAGER, PROBE_INTERVAL, PROBE_TIMEOUT, Probe, Provider, Resolved,
    ResolvedProcess, Servers, Serves, Statuses, Try,
};

/// How long onward's own server of static files may take to listen.
const STATIC_WITHIN: Duration = Duration::from_secs(10);

/// The configuration of a release, as the file wishes it, with the runtimes that it pins: on this
/// machine those that build it, while other servers run what they have.
pub fn config(resolved: &Resolved, runtimes: &[InUse]) -> Arc<Config> {
    let processes = resolved.processes.iter();
    let values = resolved.values.iter();
    let secrets = resolved.secrets.iter();
    let tasks = resolved.tasks.iter();
    let command =
        |given: &Option<super::ShellCommand>| given.as_ref().map(|c| c.as_str().to_owned());
    Arc::new(Config {
        processes: processes.map(|one| (one.name.clone(), process(resolved, one))).collect(),
        values: values.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect(),
        secrets: secrets.map(|name| (name.clone(), SecretVersion::CURRENT)).collect(),
        release_command: command(&resolved.release.run),
        check_command: command(&resolved.release.check),
        watch_ms: ms(resolved.release.watch),
        warm_ms: ms(resolved.release.warm),
        shared_dirs: paths(&resolved.shared),
        shared_files: paths(&resolved.shared_files),
        runtimes: match resolved.provider {
            Provider::Local => crate::runtimes::of_release(runtimes),
            // Its directory is one of this machine.
            Provider::Ssh | Provider::Nspawn => BTreeMap::new(),
        },
        strategy: resolved.release.strategy,
        routing: Routing { site: site(resolved), ..resolved.routing.clone() },
        tasks: tasks.map(|(name, task)| (name.clone(), task.run.as_str().to_owned())).collect(),
        schedules: resolved.schedules.clone(),
        files: resolved.files.clone(),
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

/// The servers of an environment with their roles, in file order.
///
/// A server without `roles` has every role that a process of the project needs; the first one also
/// balances and manages.
pub fn servers(resolved: &Resolved) -> Vec<(ServerName, BTreeSet<Role>)> {
    let wishes = match &resolved.servers {
        Servers::Count(count) => {
            (1..=*count).map(|at| (nth(at, resolved.provider), None)).collect()
        }
        Servers::Named(wishes) => {
            wishes.iter().map(|wish| (wish.name.clone(), wish.roles.clone())).collect::<Vec<_>>()
        }
    };
    let roles = |at: usize| {
        let needed = resolved.processes.iter().flat_map(|process| {
            let own = process.on.is_empty().then(|| process.name.to_string());
            own.into_iter().chain(process.on.iter().map(ToString::to_string))
        });
        let first = [BALANCER, MANAGER].into_iter().filter(|_| at == 0);
        let known = first.chain(["web", "worker"]).map(str::to_owned);
        known.chain(needed).filter_map(|role| role.parse().ok()).collect()
    };
    let with_roles = |(at, (name, given)): (usize, (ServerName, Option<BTreeSet<Role>>))| {
        (name, given.unwrap_or_else(|| roles(at)))
    };
    wishes.into_iter().enumerate().map(with_roles).collect()
}

/// The name of the n-th server, counted from 1, of an environment that only counts them.
fn nth(at: u32, provider: Provider) -> ServerName {
    let name = match (provider, at) {
        (Provider::Local, 1) => LOCAL.to_owned(),
        (Provider::Local, at) => format!("{LOCAL}-{at}"),
        (Provider::Ssh | Provider::Nspawn, at) => format!("server-{at}"),
    };
    name.parse().expect("a word and a number are a legal name")
}

fn process(resolved: &Resolved, wish: &ResolvedProcess) -> Process {
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
    let process = Process {
        run,
        probe,
        stop,
        overlap: overlaps(&wish.name, wish.overlap),
        limits: wish.limits,
        count: 1,
        total: None,
        on: on(wish),
    };
    let servers = servers(resolved);
    let on = servers.iter().filter(|(_, roles)| process.runs_on(&wish.name, roles)).count();
    // One on each server is what a process has anyway.
    Process { total: wish.count.filter(|count| *count as usize != on), ..process }
}

/// The roles of the servers that run a process; none are named when it is that of its own name.
fn on(wish: &ResolvedProcess) -> BTreeSet<Role> {
    let own = [wish.name.as_str()];
    if wish.on.iter().map(Role::as_str).eq(own) {
        return BTreeSet::new();
    }
    wish.on.iter().cloned().collect()
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
