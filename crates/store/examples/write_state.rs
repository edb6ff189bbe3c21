//! Writes one generation after the one that is there: `write_state ROOT`, for tests that kill it.
//! `write_state ROOT truncate` writes as one must not: it empties the file and then fills it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use onward_core::document::Document;
use onward_core::model::WriteId;
use onward_core::outcome::Outcome;
use onward_core::ports::StateStore;
use onward_store::state::DirectoryStore;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(root) = arguments.first() else {
        eprintln!("usage: write_state ROOT [truncate]");
        return ExitCode::from(2);
    };
    let app = "shop".parse().expect("a legal name");
    let environment = "local".parse().expect("a legal name");
    let store = DirectoryStore::new(Path::new(root), &app, &environment);
    let stored = store.read().expect("the state can be read");
    let id = WriteId::new("example");
    let mut next = stored.as_ref().map_or_else(
        || Document::first(app, environment, id.clone(), jiff::Timestamp::UNIX_EPOCH),
        |stored| (*stored.document).clone(),
    );
    let expected = stored.as_ref().map(|stored| stored.document.generation);
    next.generation = expected.unwrap_or_default().next();
    next.parent = stored.map(|stored| stored.digest);
    if arguments.get(1).is_some_and(|mode| mode == "truncate") {
        std::fs::write(store.state_file(), next.encode()).expect("the state can be written");
        return ExitCode::SUCCESS;
    }
    match store.write(expected, &Arc::new(next)) {
        Outcome::Done(_) => ExitCode::SUCCESS,
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}
