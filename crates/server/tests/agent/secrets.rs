//! Secrets on their way to apps, and kept out of everything else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use onward_core::model::{Config, ReleaseNumber};
use onward_core::order::{CommandKind, Level, Order};
use onward_core::outcome::Outcome;
use onward_core::ports::Link;
use onward_core::report::{Progress, Report};
use onward_core::secrets::{OrderSecrets, OrderValue, SecretVersion};
use onward_secret::{Identity, seal_value};
use onward_server::client::{AgentLink, ClientError};
use onward_server::layout::agent_socket;
use onward_server::protocol::LogsRequest;
use rustix::process::Signal;

use crate::world::{SERVER, World, command, config, eventually, instance, is_alive, signal, web};

const CANARY: &str = "canary-7f3a9/+=\"d1";

/// The secrets of an order: `KEY` in version 1 and `OTHER` in version 2.
fn sealed(to: &Identity) -> OrderSecrets {
    let value = |(version, name, value): (u64, &str, &str)| {
        let (name, version) = (name.parse().unwrap(), SecretVersion(version));
        let sealed = seal_value(to.public(), &name, version, &value.into()).unwrap();
        (version, OrderValue { name, sealed })
    };
    let all = [(1, "KEY", CANARY), (2, "OTHER", "the other\nsecret of two lines\n")];
    OrderSecrets { key: to.public().clone(), versions: all.map(value).into() }
}

fn named(config: Config) -> Config {
    let secrets = [("KEY", 1), ("OTHER", 2)];
    let secrets = secrets.map(|(name, version)| (name.parse().unwrap(), SecretVersion(version)));
    Config { secrets: secrets.into(), ..config }
}

/// A world whose environment has secrets, and the agent their key.
fn world() -> (World, Identity) {
    let mut world = World::new();
    let identity = Identity::generate();
    world.secrets = Some(sealed(&identity));
    give(&world, &identity);
    (world, identity)
}

fn give(world: &World, identity: &Identity) {
    let (app, environment) = ("shop".parse().unwrap(), "local".parse().unwrap());
    world.client().take_key(&app, &environment, identity.clone()).unwrap();
    assert!(world.client().holds_key(&app, &environment, identity.public()).unwrap());
}

/// Every file below a directory that holds the text, releases and links apart.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

const TELLS: &str = r#"
import os, sys
directory = os.environ["ONWARD_SECRETS_DIR"]
files = {name: open(os.path.join(directory, name)).read() for name in os.listdir(directory)}
same = all(os.environ[name] == text for name, text in files.items())
modes = {oct(os.stat(os.path.join(directory, name)).st_mode & 0o777) for name in files}
print(sorted(files), same, sorted(modes), len(files["OTHER"]), flush=True)
"#;

#[test]
fn secrets_are_variables_and_files_of_processes_and_commands_and_go_with_the_release() {
    let (mut world, _) = world();
    let mut own = named(config(&[("web", web())]));
    own.release_command = Some("python3 tells.py".into());
    let files = [("server.py", SERVER), ("tells.py", TELLS)];
    world.release(1, &files, own.clone());
    let order = world.order_command(CommandKind::Release, 1);
    let done = |report: &Report| report.command.as_ref().unwrap().outcome == Progress::Done;
    world.until(&order, |report| report.command.is_some() && done(report));
    let log = world.tree().command_log(ReleaseNumber(1), CommandKind::Release);
    assert_eq!(fs::read_to_string(&log).unwrap(), "['KEY', 'OTHER'] True ['0o400'] 30\n");
    assert_eq!(fs::metadata(log).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!world.tree().secrets_of(ReleaseNumber(1)).exists(), "nothing runs of it");

    let report = world.serve(1);
    let pid = instance(&report, 1, "web").pid.unwrap();
    let environment = onward_server::process::environment(pid);
    assert_eq!(environment["KEY"], CANARY);
    let directory = world.tree().secrets_of(ReleaseNumber(1));
    assert_eq!(environment["ONWARD_SECRETS_DIR"], directory.display().to_string());
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let key = fs::metadata(world.tree().key_file()).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    world.release(2, &files, own);
    world.serve(2);
    eventually("the files of release 1 are gone", || !directory.exists());
    world.releases.clear();
    world.converge();
    let left = fs::read_dir(world.tree().secrets()).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn an_order_that_cannot_be_opened_is_refused_and_what_serves_goes_on() {
    let mut world = World::new();
    world.web_release(1);
    let pid = instance(&world.serve(1), 1, "web").pid.unwrap();
    let identity = Identity::generate();
    world.secrets = Some(sealed(&identity));
    world.release(2, &[("server.py", SERVER)], named(config(&[("web", web())])));
    world.level(2, Level::Running, false);
    let refused = |world: &World, order: &Order| match world.client().deliver(order, None, 0) {
        Err(ClientError::Refused(text)) => text,
        other => panic!("not refused: {other:?}"),
    };
    let order = world.order();
    assert_eq!(refused(&world, &order), "the key of the environment is not on this server");

    give(&world, &identity);
    let mut damaged = order.clone();
    let versions = &mut damaged.secrets.as_mut().unwrap().versions;
    let other = versions[&SecretVersion(2)].sealed.clone();
    versions.get_mut(&SecretVersion(1)).unwrap().sealed = other;
    assert_eq!(
        refused(&world, &damaged),
        "the secret KEY cannot be used: its sealed text is that of OTHER version 2"
    );
    assert!(is_alive(pid));
    assert_eq!(world.last_order().generation.0, order.generation.0 - 1);
    // What was refused was not accepted: the whole order of the same generation is.
    world.until(&order, |report| report.level(ReleaseNumber(2)) == Level::Running);
}

#[test]
fn a_link_brings_the_key_when_the_agent_lacks_it() {
    let mut world = World::new();
    let identity = Identity::generate();
    world.secrets = Some(sealed(&identity));
    world.release(1, &[("server.py", SERVER)], named(config(&[("web", web())])));
    let order = world.order();
    let link = AgentLink::new(agent_socket(&world.runtime()));
    match link.deliver(&order, None) {
        Outcome::Refused(why) => assert!(why.0.contains("does not have the key"), "{why}"),
        other => panic!("not refused: {other:?}"),
    }
    let link = link.with_keys(Arc::new(move |_| Some(identity.clone())));
    assert!(matches!(link.deliver(&order, None), Outcome::Done(_)));
    // From now on nobody has to be asked for it.
    let link = AgentLink::new(agent_socket(&world.runtime()));
    assert!(matches!(link.deliver(&order, None), Outcome::Done(_)));
}

#[test]
fn after_a_kill_of_everything_apps_get_their_secrets_without_anybody() {
    let (mut world, _) = world();
    world.release(1, &[("server.py", SERVER)], named(config(&[("web", web())])));
    let pid = instance(&world.serve(1), 1, "web").pid.unwrap();
    world.kill_agent();
    signal(pid, Signal::KILL);
    fs::remove_dir_all(world.tree().secrets()).unwrap();
    world.start_agent();
    let new = world.last_pid();
    assert_ne!(new, pid);
    let environment = onward_server::process::environment(new);
    assert_eq!(environment["KEY"], CANARY);
    let file = world.tree().secrets_of(ReleaseNumber(1)).join("KEY");
    assert_eq!(fs::read_to_string(file).unwrap(), CANARY);
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one_while_everything_runs() {
    let (mut world, old) = world();
    world.release(1, &[("server.py", SERVER)], named(config(&[("web", web())])));
    let pid = instance(&world.serve(1), 1, "web").pid.unwrap();
    let new = Identity::generate();
    give(&world, &new);
    let keys = || fs::read_to_string(world.tree().key_file()).unwrap();
    assert!(keys().contains(old.public().as_str()), "the order in force needs it");
    world.kill_agent();
    world.start_agent();
    world.secrets = Some(sealed(&new));
    let report = world.converge();
    assert_eq!(instance(&report, 1, "web").pid, Some(pid), "nothing is restarted");
    let keys = fs::read_to_string(world.tree().key_file()).unwrap();
    assert!(keys.contains(new.public().as_str()) && !keys.contains(old.public().as_str()));
}

#[test]
fn what_an_app_prints_of_its_secrets_is_masked() {
    let (mut world, _) = world();
    let print = "echo \"it is $KEY\"; echo \"$OTHER\"; exit 3";
    let mut own = named(config(&[("web", command(print))]));
    own.release_command = Some("echo \"command has $KEY\"; exit 4".into());
    world.release(1, &[("a", "")], own);
    let order = world.order_command(CommandKind::Release, 1);
    let failed = |report: &Report| match report.command.as_ref().map(|own| &own.outcome) {
        Some(Progress::Failed(failure)) => Some(failure.lines.clone()),
        _ => None,
    };
    let report = world.until(&order, |report| failed(report).is_some());
    assert_eq!(failed(&report).unwrap(), ["command has [KEY]"]);

    world.level(1, Level::Running, false);
    let order = world.order();
    let failure = |report: &Report| report.releases[&ReleaseNumber(1)].failure.clone();
    let report = world.until(&order, |report| failure(report).is_some());
    let told = failure(&report).unwrap();
    assert_eq!(told.lines[..2], ["it is [KEY]", "the other"]);
    assert_eq!(told.lines[2], "[OTHER]");

    let mut lines = Vec::new();
    let (app, environment) = ("shop".parse().unwrap(), "local".parse().unwrap());
    let request = LogsRequest {
        app,
        environment,
        release: None,
        process: None,
        instance: None,
        lines: 100,
        follow: false,
    };
    world
        .client()
        .logs(request, |line| {
            lines.push(line.text);
            true
        })
        .unwrap();
    assert!(lines.iter().any(|line| line == "it is [KEY]"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(CANARY)), "{lines:?}");

    let expected = |path: &String| path.contains("/logs/1/") || path.ends_with("/secrets/1/KEY");
    let found = holding(&world.root(), CANARY);
    assert!(found.iter().any(expected), "the control: {found:?}");
    assert_eq!(found.iter().filter(|path| !expected(path)).collect::<Vec<_>>(), [] as [&String; 0]);
}
