//! Which agents this command found silent: it waits for each of them once, not at every question.
//!
//! Nothing depends on it but time: an agent that answers again is heard at the next question.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static SILENT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn silent() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the agent of a socket said nothing when it was asked last.
pub(super) fn is_known(socket: &Path) -> bool {
    silent().contains(socket)
}

/// Keeps whether the agent of a socket said something.
pub(super) fn learn(socket: &Path, is_silent: bool) {
    if is_silent {
        silent().insert(socket.to_owned());
    } else {
        silent().remove(socket);
    }
}
