//! The units of agent and proxy: what they say, and how much they may do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onward_server::systemd::transient;
use onward_server::systemd::units::{self, AGENT, File, PROXY, Setup};

fn files() -> Vec<File> {
    let server = "one".parse().expect("a name");
    let (root, runtime) = (Path::new("/var/lib/onward"), Path::new("/run/onward"));
    units::files(&Setup { root, runtime, server: &server, http: 80, https: 443 })
}

#[test]
fn the_units_of_a_server() {
    for file in files() {
        insta::assert_snapshot!(file.name.to_owned(), file.text);
    }
}

#[test]
fn a_path_is_no_specifier() {
    let server = "one".parse().unwrap();
    let (root, runtime) = (Path::new("/srv/100%s"), Path::new("/run/onward"));
    let files = units::files(&Setup { root, runtime, server: &server, http: 80, https: 443 });
    assert!(files[0].text.contains("ExecStart=/srv/100%%s/bin/current"), "{}", files[0].text);
}

/// What `systemd-analyze security` says of a unit, in tenths; `None` where there is no such program.
fn exposure(unit: &Path) -> Option<u32> {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(unit)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let level = text.rsplit("Overall exposure level for ").next()?.split(": ").nth(1)?;
    let figure: f64 = level.split(' ').next()?.parse().ok()?;
    Some((figure * 10.0).round() as u32)
}

fn written(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("a file of a test");
    path
}

#[test]
fn units_may_do_little() {
    let directory = tempfile::tempdir().unwrap();
    let bare = written(directory.path(), "bare.service", "[Service]\nExecStart=/bin/true\n");
    let Some(control) = exposure(&bare) else {
        eprintln!("left out: there is no systemd-analyze here");
        return;
    };
    assert!(control > 90, "a bare unit may do everything: {control}");
    let most = [(AGENT, 15), (PROXY, 16)].into_iter();
    for (name, most) in most {
        let text = files().into_iter().find(|file| file.name == name).unwrap().text;
        let found = exposure(&written(directory.path(), name, &text)).unwrap();
        assert!(found <= most, "{name} is exposed by {found} tenths");
    }
    let confined: String =
        transient::confined().map(|(name, value)| format!("{name}={value}\n")).collect();
    let app = format!("[Service]\nExecStart=/bin/true\nUser=app\n{confined}");
    let found = exposure(&written(directory.path(), "app.service", &app)).unwrap();
    assert!(found <= 20, "an app is exposed by {found} tenths");
}
