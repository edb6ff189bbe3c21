//! The processes behind the commands: `onward agent …` and `onward proxy …`.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use onward_core::model::{EnvironmentName, ServerName};

use onward_server::systemd;

use super::args::{AgentVerb, ProxyVerb, ServerPlace, Verb};
use super::exit::Exit;
use crate::carrier;

/// Runs a process of this machine; `None` when the verb is a person's.
pub fn run(verb: &Verb) -> Option<ExitCode> {
    let result = match verb {
        Verb::Agent(AgentVerb::InTerminal { program, arguments }) => {
            let error = onward_server::process::terminal::become_in_session(program, arguments);
            eprintln!("onward: {} cannot be started: {error}", program.display());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Some(ExitCode::from(if missing { 127 } else { 126 }));
        }
        Verb::Agent(AgentVerb::Run { root, runtime, server, home, environment, systemd }) => {
            let home = home.as_deref().unwrap_or(root);
            agent(root, runtime, server, home, environment.as_ref(), *systemd)
        }
        Verb::Agent(AgentVerb::Install { server, place, http, https }) => {
            let wanted = systemd::Install {
                root: place.root.clone(),
                runtime: place.runtime.clone(),
                server: server.clone(),
                http: *http,
                https: *https,
            };
            return Some(ended(systemd::install(&wanted).map(drop)));
        }
        Verb::Agent(AgentVerb::Remove { place, data, app: Some(app), environment: Some(own) }) => {
            let left = systemd::leave(&place.root, &place.runtime, (app, own), *data);
            return Some(ended(left.map(|left| println!("{}", left.word()))));
        }
        Verb::Agent(AgentVerb::Remove { place, data, .. }) => {
            return Some(ended(systemd::remove(&place.root, &place.runtime, *data)));
        }
        Verb::Agent(AgentVerb::Carry { place, app, environment }) => {
            let ServerPlace { root, runtime } = place.clone();
            let (app, environment) = (app.clone(), environment.clone());
            carrier::run(&carrier::Post { root, runtime, app, environment }).map_err(Into::into)
        }
        Verb::Agent(AgentVerb::Spread { place }) => {
            carrier::spreading::run(&place.root, &place.runtime)
        }
        Verb::Agent(AgentVerb::ShownKey { file, reason, kind, key }) => {
            shown_key(file, reason, kind, key).map_err(Into::into)
        }
        Verb::Agent(AgentVerb::SetUp(args)) => return Some(super::set_up::run(args)),
        Verb::Agent(AgentVerb::Stdio { runtime }) => {
            onward_server::session::stdio(runtime).map_err(Into::into)
        }
        Verb::Proxy(ProxyVerb::Run { table, control, beside: true, .. }) => {
            proxy_beside(table, control)
        }
        Verb::Proxy(ProxyVerb::Run { table, control, after, .. }) => {
            proxy(table, control, after.as_deref())
        }
        Verb::Proxy(ProxyVerb::Files { directory, spa, immutable }) => {
            files(directory, *spa, immutable.clone())
        }
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onward: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Says what went wrong, and nothing otherwise.
fn ended(result: std::result::Result<(), systemd::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onward: {error}");
            if error.is_for_people() { Exit::Refused.into() } else { ExitCode::FAILURE }
        }
    }
}

/// Before it connects, `ssh` asks which kinds of keys are known; the key is shown later.
fn shown_key(file: &Path, reason: &str, kind: &str, key: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    if reason == "ORDER" {
        return Ok(());
    }
    let mut file = std::fs::File::options().create(true).append(true).open(file)?;
    writeln!(file, "{kind} {key}")
}

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn agent(
    root: &Path,
    runtime: &Path,
    server: &ServerName,
    home: &Path,
    environment: Option<&EnvironmentName>,
    http: Option<u16>,
) -> Result {
    let config = onward_server::agent::Config {
        root: root.to_owned(),
        runtime_dir: runtime.to_owned(),
        store: Some(home.join("state")),
        environment: environment.cloned(),
        bundles: home.join("bundles"),
        binary: std::env::current_exe()?,
        server: server.clone(),
        systemd: http.map(|http| onward_server::agent::Served { http }),
    };
    Ok(onward_server::agent::run(config)?)
}

fn proxy(table: &Path, control: &Path, after: Option<&Path>) -> Result {
    // Whoever holds the sockets gives them by name, or as standard input and output.
    let (listener, https) = match onward_proxy::inherited()? {
        Some(given) => (given.http.ok_or("no socket called `http` was given")?, given.https),
        None => {
            let https = onward_proxy::https_listener_from_stdout();
            (onward_proxy::listener_from_stdin()?, https)
        }
    };
    let config = onward_proxy::Config {
        listener,
        https,
        control: control.to_owned(),
        table_file: table.to_owned(),
        workers: onward_proxy::default_workers(),
        limits: onward_proxy::Limits::default(),
        access_log: Some(table.with_file_name("access.log")),
    };
    match after {
        Some(predecessor) => Ok(onward_proxy::run_after(config, predecessor)?),
        None => Ok(onward_proxy::run(config)?),
    }
}

/// Runs the proxy of a service manager, which always starts it with the same words: it takes over
/// from the one that answers, and serves at once when none does.
fn proxy_beside(table: &Path, control: &Path) -> Result {
    let answers = onward_proxy::Client::connect(control).and_then(|mut own| own.status()).is_ok();
    if !answers {
        return proxy(table, control, None);
    }
    let directory = control.parent().unwrap_or(Path::new("."));
    proxy(table, &onward_server::layout::next_proxy_socket(directory), Some(control))
}

fn files(directory: &Path, spa: bool, immutable: Vec<String>) -> Result {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let rules = onward_proxy::SiteRules { spa, immutable };
    Ok(onward_proxy::files::serve(directory, rules, TcpListener::bind(("127.0.0.1", port))?)?)
}
