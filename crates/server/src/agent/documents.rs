//! The documents that this server keeps for everybody: it is the manager of an environment.

use std::path::Path;

use onward_core::model::{AppName, EnvironmentName};
use onward_store::state::DirectoryStore;
use onward_store::state::remote::{self, Ask};

use crate::protocol::Answer;

/// Does what is asked with the documents of an environment below `root`.
pub(super) async fn answer(
    root: Option<&Path>,
    app: AppName,
    environment: EnvironmentName,
    ask: Ask,
) -> Answer {
    let Some(root) = root else {
        return Answer::Refused { text: "this server keeps no documents".to_owned() };
    };
    let store = DirectoryStore::new(root, &app, &environment);
    match tokio::task::spawn_blocking(move || remote::answer(&store, ask)).await {
        Ok(said) => Answer::State(Box::new(said)),
        Err(_) => Answer::Refused { text: "the agent is ending".to_owned() },
    }
}
