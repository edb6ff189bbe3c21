//! Runtimes that a project pins: fetched once, checked, recorded, and used tomorrow; and what a fetch
//! leaves behind that does not come to its end.
//!
//! The registry is a small one on this machine, with a Node.js that runs what it is given.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;

use base64::Engine;
use onward_cli_tests::{Outcome, Project, ended, eventually, http};
use serde_json::json;
use sha2::{Digest, Sha512};

/// An address where nobody answers.
const NOWHERE: &str = "http://127.0.0.1:1";

/// What a registry does when it is asked for a package.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Sends the beginning and then nothing more.
    Stalling,
    /// Sends something else than it lists.
    Lying,
}

fn node() -> String {
    let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
    format!("node-linux-{arch}")
}

/// A package with one program in it.
fn packed(program: &str, text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("package/bin").join(program);
    fs::create_dir_all(path.parent().expect("it has one")).expect("made");
    fs::write(path, text).expect("written");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory.path()).args(["-cz", "package"]);
    let output = tar.output().expect("tar runs");
    assert!(output.status.success());
    output.stdout
}

/// A registry with Node.js 22.1.0; its address.
fn registry(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("it has one"));
    let own = address.clone();
    let packages = [
        (node(), "22.1.0", packed("node", "#!/bin/sh\nexec \"$@\"\n")),
        ("npm".to_owned(), "10.9.0", packed("npm-cli.js", "")),
    ];
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who asked may be gone.
            let _ = answer(stream, &own, &packages, manner);
        }
    });
    address
}

fn answer(
    mut stream: TcpStream,
    own: &str,
    packages: &[(String, &str, Vec<u8>)],
    manner: Manner,
) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let name = path.trim_end_matches(".tgz");
    let (_, version, bytes) = packages.iter().find(|(own, ..)| own == name).expect("it has that");
    let is_package = path != name;
    let body = if is_package {
        bytes.clone()
    } else {
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha512::digest(bytes));
        let dist = json!({"integrity": format!("sha512-{digest}"), "tarball": format!("{own}/{name}.tgz")});
        json!({"versions": {*version: {"dist": dist}}}).to_string().into_bytes()
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    match manner {
        Manner::Stalling if is_package => {
            stream.write_all(&body[..body.len() / 2])?;
            // Ends when the other side does.
            std::io::copy(&mut stream, &mut std::io::sink()).map(|_| ())
        }
        Manner::Lying if is_package => stream.write_all(&vec![0; body.len()]),
        _ => stream.write_all(&body),
    }
}

/// A project whose process is started by the Node.js that it pins.
fn pinned() -> Project {
    let project = Project::prebuilt_hello("");
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    project.write("onward.toml", &file.replace("\"./hello\"", "\"node ./hello\""));
    // A version that hardly any machine has.
    project.write(".nvmrc", "22.1.0\n");
    project
}

fn start(project: &Project, registry: &str, arguments: &[&str]) -> Child {
    let mut command = project.command(arguments);
    // A Node.js of the person's own would fit as well.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("npm_config_registry", registry);
    command.process_group(0).spawn().expect("the binary runs")
}

fn run(project: &Project, registry: &str, arguments: &[&str]) -> Outcome {
    ended(start(project, registry, arguments), || {})
}

fn store(project: &Project) -> PathBuf {
    let home = project.path();
    home.parent().expect("it has one").join(".local/share/onward/runtimes")
}

/// What is in the store besides its lock.
fn stored(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(store(project)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != ".begin").collect()
}

fn has_lock(project: &Project) -> bool {
    project.path().join("onward.lock").exists()
}

fn serves(project: &Project, release: u64) {
    assert_eq!(project.status()["release"]["number"], release);
    let body = http::get(&project.url(), "/").expect("the address answers").body;
    assert!(body.contains(&format!("release {release}")), "{body}");
}

#[test]
fn what_is_fetched_is_used_tomorrow_without_a_network() {
    let project = pinned();
    run(&project, &registry(Manner::Honest), &["up"]).code_is(0);
    serves(&project, 1);
    let lock = fs::read_to_string(project.path().join("onward.lock")).expect("it is recorded");
    assert!(lock.contains("version = \"22.1.0\""), "{lock}");
    project.write("change.txt", "a change\n");
    run(&project, NOWHERE, &["deploy"]).code_is(0);
    serves(&project, 2);
    assert_eq!(fs::read_to_string(project.path().join("onward.lock")).expect("a file"), lock);
    fs::remove_dir_all(store(&project)).expect("removed");
    let control = run(&project, NOWHERE, &["deploy", "--force"]).code_is(1);
    assert!(control.stderr.contains("cannot be fetched"), "{}", control.stderr);
    serves(&project, 2);
}

#[test]
fn a_fetch_that_is_left_or_killed_leaves_nothing_that_is_used() {
    let project = pinned();
    let stalling = registry(Manner::Stalling);
    let begun = |project: &Project| {
        eventually("the fetch has begun", || (!stored(project).is_empty()).then_some(()));
    };
    let up = start(&project, &stalling, &["up"]);
    begun(&project);
    Project::interrupt_group(up.id());
    let up = ended(up, || {}).code_is(1);
    assert!(up.stderr.contains("interrupted during the download of a runtime"), "{}", up.stderr);
    assert!(stored(&project).is_empty() && !has_lock(&project), "{:?}", stored(&project));

    let up = start(&project, &stalling, &["up"]);
    begun(&project);
    Project::kill(up.id());
    ended(up, || {});
    assert_eq!(stored(&project).len(), 1, "the control: it is left unfinished");
    assert!(!has_lock(&project));
    run(&project, &registry(Manner::Honest), &["up"]).code_is(0);
    let stored = stored(&project);
    assert!(matches!(&stored[..], [one] if one.starts_with("node-22.1.0-")), "{stored:?}");
    serves(&project, 1);
}

#[test]
fn what_is_not_what_it_should_be_changes_nothing() {
    let project = pinned();
    let lied = run(&project, &registry(Manner::Lying), &["up"]).code_is(1);
    assert!(lied.stderr.contains("is not what the registry says"), "{}", lied.stderr);
    assert!(stored(&project).is_empty() && !has_lock(&project), "{:?}", stored(&project));
    let honest = registry(Manner::Honest);
    run(&project, &honest, &["up"]).code_is(0);
    let path = project.path().join("onward.lock");
    let lock = fs::read_to_string(&path).expect("it is recorded");
    for (text, code, says) in [
        (format!("<<<<<<< HEAD\n{lock}"), 2, "onward.lock cannot be understood: line 1"),
        (
            lock.replace("22.1.0", "21.0.0"),
            3,
            "onward.lock has node 21.0.0, and .nvmrc wants 22.1.0",
        ),
    ] {
        fs::write(&path, &text).expect("written");
        let refused = run(&project, &honest, &["deploy", "--force"]).code_is(code);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert_eq!(fs::read_to_string(&path).expect("a file"), text, "it is left as it is");
        serves(&project, 1);
    }
    run(&project, &honest, &["deploy", "--force", "--update-runtimes"]).code_is(0);
    assert_eq!(fs::read_to_string(&path).expect("a file"), lock);
}
