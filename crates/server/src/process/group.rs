//! The end of processes: waiting for it, and bringing it about for a whole group.

use std::os::fd::OwnedFd;
use std::time::Duration;

use onward_core::model::Stop;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

use super::exit::signal_by_name;
use super::procfs::{self, Identity};

/// The first pause between two looks at a group that shall end; it doubles.
const LOOK_FIRST: Duration = Duration::from_millis(2);
/// The longest such pause.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// How a group is ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// What asks it to end.
    pub signal: Signal,
    /// The time that it has until it is killed.
    pub within: Duration,
}

impl End {
    /// By `TERM`.
    pub const fn term(within: Duration) -> Self {
        Self { signal: Signal::TERM, within }
    }

    /// As the project file says; `TERM` where this system has no such signal.
    pub fn of(stop: &Stop) -> Self {
        let signal = signal_by_name(&stop.signal).unwrap_or(Signal::TERM);
        Self { signal, within: Duration::from_millis(stop.within_ms) }
    }
}

fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// Kills every process of a group at once.
pub fn kill_group(leader: Identity) {
    if let Some(leader) = pid(leader.pid).filter(|_| procfs::is_running(leader)) {
        // It may have ended in between.
        let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    }
}

/// Sends a signal to every process of a session or group that is there.
pub fn signal_session(leader: u32, signal: Signal) {
    for member in procfs::session_members(leader).into_iter().filter_map(pid) {
        // It may have ended in between.
        let _ = rustix::process::kill_process(member, signal);
    }
}

/// Ends every process of the group; returns when none is left.
///
/// A process that waits for a device cannot be ended by anybody; then this waits with it.
pub async fn end_group(group: u32, end: End) {
    let Some(leader) = pid(group) else { return };
    let mut pause = LOOK_FIRST;
    let kill_at = Instant::now() + end.within;
    let mut killed = false;
    let _ = rustix::process::kill_process_group(leader, end.signal);
    while !is_gone(leader, pause) {
        if !killed && Instant::now() >= kill_at {
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
            killed = true;
            pause = LOOK_FIRST;
        }
        let left = kill_at.saturating_duration_since(Instant::now());
        sleep(if killed { pause } else { pause.min(left.max(LOOK_FIRST)) }).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

/// Remains that nobody collects still count as a group for the system, so after a while we look
/// closer.
fn is_gone(leader: Pid, pause: Duration) -> bool {
    match rustix::process::test_kill_process_group(leader) {
        Err(rustix::io::Errno::SRCH) => true,
        _ if pause < LOOK_MAX => false,
        _ => procfs::members(leader.as_raw_nonzero().get().unsigned_abs()).is_empty(),
    }
}

/// Waits for the end of a process that is not our child. Returns at once when it is not there.
///
/// # Errors
/// When the system cannot watch it.
pub async fn wait_for_exit(identity: Identity) -> std::io::Result<()> {
    let Some(raw) = pid(identity.pid) else { return Ok(()) };
    let watched = match rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(watched) => watched,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Only now that the descriptor names one process for ever is it known which one.
    if !procfs::is_running(identity) {
        return Ok(());
    }
    let watched = readable(watched)?;
    watched.readable().await.map(|_| ())
}

/// `AsyncFd` is sound for an owned descriptor, which stays the same until it is dropped; its safe
/// constructor is deprecated because of types that promise less.
#[expect(deprecated, reason = "the alternative needs unsafe code, and this type needs none")]
fn readable(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
