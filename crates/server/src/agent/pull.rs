//! The directory store, read by the agent itself: orders come in, reports go out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use onward_core::engine;
use onward_core::model::{EnvironmentName, ServerName};
use onward_core::ports::StateStore;
use onward_core::report::Report;
use onward_store::state::DirectoryStore;
use tokio::sync::watch;

use super::event::{AppKey, Event, Events};
use super::note::note;

/// How often documents are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells one content of a document's file from the next.
type Stamp = (SystemTime, u64);

/// Looks at the documents of a store; never ends by itself.
pub(super) async fn pull(
    store: PathBuf,
    environment: Option<EnvironmentName>,
    server: ServerName,
    events: Events,
) {
    let mut seen: BTreeMap<AppKey, Stamp> = BTreeMap::new();
    loop {
        for (app, stamp) in documents(&store) {
            let is_other = environment.as_ref().is_some_and(|own| *own != app.1);
            if is_other || seen.get(&app) == Some(&stamp) {
                continue;
            }
            let documents = DirectoryStore::new(&store, &app.0, &app.1);
            let read = tokio::task::spawn_blocking(move || documents.read()).await;
            let event = match read {
                Ok(Ok(Some(stored))) => {
                    let order = engine::order(&stored.document, &server);
                    order.map(|order| Event::Pulled(Box::new(order)))
                }
                Ok(Ok(None)) => None,
                Ok(Err(error)) => {
                    Some(Event::PullFailed { app: app.clone(), why: error.to_string() })
                }
                Err(error) => Some(Event::PullFailed { app: app.clone(), why: error.to_string() }),
            };
            seen.insert(app, stamp);
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The documents of a store with their stamps.
fn documents(store: &Path) -> Vec<(AppKey, Stamp)> {
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = Vec::new();
    for app in names(store) {
        for environment in names(&store.join(&app)) {
            let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) else { continue };
            let file = DirectoryStore::new(store, &app, &environment).state_file();
            let stamp = fs::metadata(file).and_then(|meta| Ok((meta.modified()?, meta.len())));
            if let Ok(stamp) = stamp {
                found.push(((app, environment), stamp));
            }
        }
    }
    found
}

/// Brings the newest report of one app to the store. Those in between are left out.
pub(super) async fn put_reports(
    store: PathBuf,
    app: AppKey,
    server: ServerName,
    mut reports: watch::Receiver<Option<Report>>,
) {
    while reports.changed().await.is_ok() {
        let Some(report) = reports.borrow_and_update().clone() else { continue };
        let documents = DirectoryStore::new(&store, &app.0, &app.1);
        if !documents.state_file().exists() {
            continue;
        }
        let name = server.clone();
        let put = tokio::task::spawn_blocking(move || documents.put_report(&name, &report)).await;
        if let Ok(Err(error)) = put {
            note(format_args!("the report cannot be kept in the store: {error}"));
        }
    }
}
