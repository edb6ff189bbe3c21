//! The last lines of what failed. They are read beside the loop: the journal takes its time, and is
//! asked to write down first what is still on its way to it.

use std::path::PathBuf;
use std::sync::Arc;

use onward_secret::Masker;

use super::app::App;
use crate::process::Supervisor;

/// How many lines of what failed are told.
const LINES_TOLD: usize = 20;

/// Where the last lines of something are.
#[derive(Debug, Clone)]
pub(super) struct LastWords {
    supervisor: Supervisor,
    log: PathBuf,
    masker: Arc<Masker>,
}

impl LastWords {
    /// The lines without secrets, oldest first; none when they cannot be read.
    pub(super) async fn read(self) -> Vec<String> {
        let read = tokio::task::spawn_blocking(move || self.read_here());
        // A thread that panicked has none.
        read.await.unwrap_or_default()
    }

    /// The same. It blocks, so the loop never asks for it.
    pub(super) fn read_here(&self) -> Vec<String> {
        self.supervisor.tail(&self.log, LINES_TOLD, &self.masker)
    }
}

impl App {
    /// Where the last lines of a log are.
    pub(super) fn last_words(&self, log: PathBuf) -> LastWords {
        LastWords { supervisor: self.supervisor.clone(), log, masker: self.vault.masker() }
    }
}
