//! The documents that this server keeps for everybody: it is the manager of an environment.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use onward_core::model::{AppName, EnvironmentName};
use onward_store::state::DirectoryStore;
use onward_store::state::remote::{self, Ask};

use super::carrying::{self, Asked, Connection, Word};
use super::event::AppKey;
use super::serve::Desk;
use crate::protocol::Answer;

/// Does what is asked over a connection with the documents of an environment below `root`.
pub(super) async fn answer(
    desk: &Desk,
    by: Connection,
    app: AppName,
    environment: EnvironmentName,
    ask: Ask,
) -> Answer {
    let Some(root) = &desk.store else {
        return Answer::Refused { text: "this server keeps no documents".to_owned() };
    };
    let store = DirectoryStore::new(root, &app, &environment);
    let asked = Asked::of(&ask);
    let app = (app, environment);
    let done = tokio::task::spawn_blocking(move || {
        let said = remote::answer(&store, ask);
        let word = Word::of(&app, by, &asked, &said, &store);
        (said, word)
    });
    let Ok((said, word)) = done.await else {
        return Answer::Refused { text: "the agent is ending".to_owned() };
    };
    if let (Some(carrying), Some(word)) = (&desk.carrying, word) {
        // An agent that is ending does not listen any more.
        let _ = carrying.send(word).await;
    }
    Answer::State(Box::new(said))
}

/// Every app and environment that has a document below `root`, and when a certificate of it is due.
pub(super) fn all(root: &Path) -> Vec<(AppKey, Option<Timestamp>)> {
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = Vec::new();
    for app in names(root) {
        for environment in names(&root.join(&app)) {
            let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) else { continue };
            let store = DirectoryStore::new(root, &app, &environment);
            if store.state_file().is_file() {
                let due = carrying::due_in(&store);
                found.push(((app, environment), due));
            }
        }
    }
    found
}
