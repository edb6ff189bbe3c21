//! Copies of the state document, for the day on which its store is lost.
//!
//! They are not what the agent follows: that is its order. A copy is written without waiting for
//! the disk, because the loss of power and of the store on one day is what backups are for.

use onward_core::document::Document;
use onward_core::model::{AppName, EnvironmentName};

use super::durable::{self, FileError, Survives};
use crate::layout::Tree;
use crate::protocol::Answer;

/// Keeps a copy, unless there is one of a higher generation.
pub(super) async fn keep(tree: &Tree, document: Document) -> Answer {
    let app = tree.app(&document.app, &document.environment);
    on_disk(move || {
        if !app.directory().is_dir() {
            let text =
                format!("{} in {} is not on this server", document.app, document.environment);
            return Ok(Answer::Refused { text });
        }
        let path = app.copy_file();
        // A copy that cannot be read is worth less than any other.
        let there: Option<Document> = durable::read(&path).unwrap_or_default();
        if there.is_none_or(|there| there.generation < document.generation) {
            durable::write(&path, &document, Survives::Exit)?;
        }
        Ok(Answer::Kept)
    })
    .await
}

/// The copy that is kept.
pub(super) async fn read(tree: &Tree, app: &AppName, environment: &EnvironmentName) -> Answer {
    let path = tree.app(app, environment).copy_file();
    on_disk(move || Ok(Answer::Copy { document: durable::read(&path)? })).await
}

async fn on_disk(what: impl FnOnce() -> Result<Answer, FileError> + Send + 'static) -> Answer {
    let refused = |text: String| Answer::Refused { text };
    match tokio::task::spawn_blocking(what).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => refused(error.to_string()),
        Err(error) => refused(error.to_string()),
    }
}
