//! Boundaries of a command: the system calls with which its main thread changes something. It is
//! run once to count them, then killed as it is about to make the n-th.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use super::Outcome;
use super::place::{Place, Ran, ran};

/// What changes files, processes, or what others know. Children are not followed: the agent that a
/// command starts must live on.
const CHANGING: &str = "fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,fchmod,connect,sendto,sendmsg,write,writev,\
    pwrite64,clone,clone3,vfork,fork";

/// One boundary: the n-th call of one kind, counted from 1. That is how strace counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    call: String,
    n: usize,
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.call, self.n)
    }
}

/// Runs a command to its end and records its boundaries.
pub fn boundaries(place: &Place, arguments: &[&str]) -> Outcome<Vec<Boundary>> {
    let trace = place.directory().join("trace");
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&trace).arg("-e").arg(format!("trace={CHANGING}"));
    strace.arg(place.binary()).args(arguments);
    let began = Instant::now();
    ran(&place.within(strace).output()?, began).done()?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let text = fs::read_to_string(trace)?;
    let calls = text.lines().filter_map(|line| line.split_once('(')).map(|(call, _)| call);
    Ok(calls
        .map(|call| {
            let n = counts.entry(call.to_owned()).or_default();
            *n += 1;
            Boundary { call: call.to_owned(), n: *n }
        })
        .collect())
}

/// Runs a command that is killed as it enters a boundary. The code is none when it got that far.
pub fn killed_at(place: &Place, arguments: &[&str], boundary: &Boundary) -> Outcome<Ran> {
    let Boundary { call, n } = boundary;
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={n}"));
    strace.arg(place.binary()).args(arguments);
    let began = Instant::now();
    Ok(ran(&place.within(strace).output()?, began))
}
