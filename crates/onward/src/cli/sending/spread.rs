//! The manager brings files on to other servers: asked over a connection of its own, which ends it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::ServerName;

use super::course::Measured;
use super::{LOOK_EVERY, Sent, Transfer, locked};
use crate::carrier::spreading::{Told, Wanted};
use crate::cli::ways;
use crate::providers::ssh::SshServer;

/// What a server brought on to others.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Those that have everything, and how many bytes that took.
    pub(super) brought: BTreeMap<ServerName, u64>,
    /// Those that it could not bring everything, and why.
    pub(super) failed: BTreeMap<ServerName, String>,
}

/// What the manager, or another server that has the bundle, brings on to others. `directly`: the time
/// that this side would take; when that server is slower, it is left. None: this side cannot.
pub(super) fn by(
    manager: &SshServer,
    transfer: &Transfer<'_>,
    to: &[SshServer],
    directly: Option<Duration>,
) -> Passed {
    let reach = |server: &SshServer| Some((server.name().clone(), ways::in_document(server)?));
    let wanted = Wanted {
        app: transfer.context.app().clone(),
        environment: transfer.context.environment().clone(),
        bundle: transfer.bundle,
        base: transfer.base,
        to: to.iter().filter_map(reach).collect(),
    };
    let mut passed = Passed::default();
    if let Some((mut child, told)) = started(manager, &wanted) {
        follow(&told, transfer, directly, &mut passed);
        // It ends by itself when it has done everything, and with its input otherwise.
        drop(child.stdin.take());
        let _ = child.kill();
        let _ = child.wait();
    }
    passed
}

fn started(manager: &SshServer, wanted: &Wanted) -> Option<(Child, Receiver<Told>)> {
    let mut command = manager.onward("agent spread");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut words = serde_json::to_vec(wanted).expect("it can be written as JSON");
    words.push(b'\n');
    // When it is gone already, there is nothing to be read either.
    let _ = child.stdin.as_mut().expect("it was asked for").write_all(&words);
    let stdout = child.stdout.take().expect("it was asked for");
    let (sender, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Some login shells print something first.
            let Ok(told) = serde_json::from_str(&line) else { continue };
            if sender.send(told).is_err() {
                return;
            }
        }
    });
    Some((child, told))
}

fn follow(
    told: &Receiver<Told>,
    transfer: &Transfer<'_>,
    directly: Option<Duration>,
    passed: &mut Passed,
) {
    let began = Instant::now();
    let own = Sent::default();
    let Passed { brought, failed } = passed;
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(Told::Sent { server, bytes, total }) => {
                locked(&transfer.sent).insert(server.clone(), (bytes, total));
                locked(&own).insert(server, (bytes, total));
            }
            Ok(Told::Brought { server, bytes }) => {
                locked(&own).insert(server.clone(), (bytes, bytes));
                brought.insert(server, bytes);
            }
            Ok(Told::Failed { server, why }) => {
                locked(&own).remove(&server);
                failed.insert(server, why);
            }
            Err(RecvTimeoutError::Timeout) => {
                transfer.show();
                let is_moving = locked(&own).keys().any(|name| !brought.contains_key(name));
                let is_slow =
                    directly.is_some_and(|own_way| measured(&own, began).is_slower_than(own_way));
                if is_slow && (is_moving || brought.is_empty()) {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn measured(sent: &Sent, began: Instant) -> Measured {
    let sent = locked(sent);
    let lacking = sent.values().map(|(bytes, total)| total.saturating_sub(*bytes)).sum();
    let bytes = sent.values().map(|(bytes, _)| bytes).sum();
    Measured { lacking, sent: bytes, took: began.elapsed() }
}
