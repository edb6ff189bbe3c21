//! Units of systemd: one for each instance, one with a timer for each schedule.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;

use onward_core::model::{Process, ProcessName, Run, Schedule, Stop};
use onward_core::schedule::{Calendar, Timing};
use onward_server::process::with_exec;

use super::{File, OnServer, PRIVATE, Serving, Upstream, quote};

/// What was made.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub(super) files: Vec<File>,
    /// The units to enable: services and timers.
    pub(super) names: Vec<String>,
    pub(super) upstreams: Vec<Upstream>,
}

pub(super) fn all(serving: &Serving<'_>, notes: &mut Vec<String>) -> Units {
    let mut units = Units::default();
    secrets(serving, &mut units, notes);
    let mut port = serving.first_port;
    for server in &serving.servers {
        for (name, process) in &serving.config.processes {
            for index in 1..=server.counts.get(name).copied().unwrap_or(0) {
                let Run::Command(line) = &process.run else { continue };
                let own = name.has_traffic().then_some(port);
                port += u16::from(name.has_traffic());
                units.upstreams.extend(own.map(|port| Upstream { port }));
                instance(
                    serving,
                    server,
                    &Instance { name, index, process, line, own },
                    &mut units,
                );
            }
        }
    }
    if let Some(first) = serving.servers.first() {
        for (name, own) in &serving.config.schedules {
            schedule(serving, first, name, own, &mut units, notes);
        }
    }
    units
}

/// Each secret as a file, as the app knows them.
fn secrets(serving: &Serving<'_>, units: &mut Units, notes: &mut Vec<String>) {
    for (name, value) in &serving.secrets {
        let content = value.expose().to_vec();
        if std::str::from_utf8(&content).is_err() {
            notes.push(format!(
                "The secret {name} is not text: it is in the file `secrets/{name}`, and in no variable."
            ));
        }
        units.files.push(File { path: format!("secrets/{name}"), content, mode: PRIVATE });
    }
}

struct Instance<'a> {
    name: &'a ProcessName,
    index: u32,
    process: &'a Process,
    line: &'a str,
    own: Option<u16>,
}

fn instance(serving: &Serving<'_>, server: &OnServer, own: &Instance<'_>, units: &mut Units) {
    let unit = format!("{}-{}-{}", serving.prefix_on(server), own.name, own.index);
    let mut variables = variables(serving, server);
    variables.insert("ONWARD_PROCESS".to_owned(), own.name.as_str().into());
    variables.insert("ONWARD_INSTANCE".to_owned(), own.index.to_string().into());
    if let Some(port) = own.own {
        variables.insert("PORT".to_owned(), port.to_string().into());
    }
    units.files.push(environment(&unit, &variables));
    let what =
        format!("{} {} of {}, instance {}", serving.app, own.name, serving.environment, own.index);
    let mut text = head(&what);
    text.push_str("\n[Service]\nType=simple\n");
    body(serving, server, &unit, own.line, &own.process.stop, &mut text);
    text.push_str("Restart=always\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n");
    units.files.push(File::public(format!("systemd/{unit}.service"), text));
    units.names.push(format!("{unit}.service"));
}

fn schedule(
    serving: &Serving<'_>,
    server: &OnServer,
    name: &ProcessName,
    own: &Schedule,
    units: &mut Units,
    notes: &mut Vec<String>,
) {
    let Ok(timing) = Timing::of(own) else {
        notes.push(format!("The schedule {name} is not understood, and left out."));
        return;
    };
    let unit = format!("{}-{name}", serving.prefix_on(server));
    let mut variables = variables(serving, server);
    variables.insert("ONWARD_SCHEDULE".to_owned(), name.as_str().into());
    units.files.push(environment(&unit, &variables));
    let what = format!("{} {name} of {}", serving.app, serving.environment);
    let mut text = head(&what);
    text.push_str("\n[Service]\nType=oneshot\n");
    body(serving, server, &unit, &own.run, &own.stop, &mut text);
    line(&mut text, "TimeoutStartSec", &milliseconds(own.within_ms));
    units.files.push(File::public(format!("systemd/{unit}.service"), text));
    let mut timer = format!("[Unit]\nDescription=When {what} runs\n\n[Timer]\n");
    match timing.calendar() {
        Calendar::At(all) => {
            all.iter().for_each(|at| line(&mut timer, "OnCalendar", at));
            let is_made_up = if own.late_ms > 0 { "true" } else { "false" };
            line(&mut timer, "Persistent", is_made_up);
        }
        Calendar::Pause(pause) => {
            line(&mut timer, "OnActiveSec", &milliseconds(pause));
            line(&mut timer, "OnUnitActiveSec", &milliseconds(pause));
            notes.push(format!(
                "The schedule {name} counts its pause from when it was last begun: no calendar says \
                 what onward did."
            ));
        }
    }
    timer.push_str("AccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n");
    units.files.push(File::public(format!("systemd/{unit}.timer"), timer));
    units.names.push(format!("{unit}.timer"));
}

fn head(what: &str) -> String {
    format!(
        "[Unit]\nDescription={what}\nWants=network-online.target\nAfter=network-online.target\n\
         StartLimitIntervalSec=0\n"
    )
}

/// What runs, as whom, where, and how it stops.
fn body(
    serving: &Serving<'_>,
    server: &OnServer,
    unit: &str,
    command: &str,
    stop: &Stop,
    text: &mut String,
) {
    let (user, group) = &serving.owner;
    line(text, "User", user);
    line(text, "Group", group);
    line(text, "WorkingDirectory", &quote::path(&server.directory.to_string_lossy()));
    line(text, "EnvironmentFile", &quote::path(&serving.place_of(&format!("env/{unit}.env"))));
    line(text, "ExecStart", &format!("/bin/sh -c {}", quote::word(&with_exec(command))));
    line(text, "KillSignal", &format!("SIG{}", stop.signal));
    line(text, "TimeoutStopSec", &milliseconds(stop.within_ms));
    line(text, "SyslogIdentifier", unit);
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key}={value}").expect("a String takes everything");
}

fn milliseconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// The environment that onward gave: the same variables with the same values.
fn variables(serving: &Serving<'_>, server: &OnServer) -> BTreeMap<String, OsString> {
    let mut all = serving.inherited.clone();
    onward_server::runtimes::enter(&serving.config.runtimes, &mut all);
    let values = serving.config.values.iter();
    all.extend(values.map(|(name, value)| (name.clone(), value.into())));
    for (name, value) in &serving.secrets {
        if let Ok(text) = std::str::from_utf8(value.expose()) {
            all.insert(name.clone(), text.into());
        }
    }
    if !serving.secrets.is_empty() {
        all.insert("ONWARD_SECRETS_DIR".to_owned(), serving.place_of("secrets").into());
    }
    let own: [(&str, OsString); 6] = [
        ("ONWARD_APP", serving.app.as_str().into()),
        ("ONWARD_ENVIRONMENT", serving.environment.as_str().into()),
        ("ONWARD_RELEASE", serving.release.to_string().into()),
        ("ONWARD_LABEL", serving.bundle.label.clone().into()),
        ("ONWARD_DIGEST", serving.bundle.digest.to_string().into()),
        ("ONWARD_SHARED", server.shared.clone().into()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn environment(unit: &str, variables: &BTreeMap<String, OsString>) -> File {
    let mut text = String::new();
    for (name, value) in variables {
        line(&mut text, name, &quote::value(&value.to_string_lossy()));
    }
    File { path: format!("env/{unit}.env"), content: text.into_bytes(), mode: PRIVATE }
}
