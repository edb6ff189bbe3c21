//! Bundles that nothing on this server needs any more are removed.
//!
//! What speaks for a bundle: an order of any app here, also one that is not followed yet; a document
//! that is kept here, of an environment that this server manages or as a copy; being one of the last
//! that arrived; having arrived, or having been asked for, lately. While a bundle arrives or is read
//! nothing is removed. When it cannot be known what is needed, nothing is either.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use onward_core::document::Document;
use onward_core::model::Digest;
use onward_core::ports::StateStore;
use onward_core::reconcile::Kept;
use onward_store::bundle::{Retention, Store, Swept};
use onward_store::state::DirectoryStore;
use tokio::time::sleep;

use super::durable;
use super::note::note;
use crate::layout::Tree;

/// How many of the bundles that arrived last stay.
const LAST: usize = 5;
/// How long every bundle stays.
const DAYS: u64 = 7;
/// How long the beginning of a transfer stays that broke off: whoever goes on with it does so soon.
const BROKEN_OFF_STAYS: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause before the first sweep: what another agent began is finished first.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// The pause between two sweeps. Bundles grow old in days.
const EVERY: Duration = Duration::from_secs(3600);

/// Sweeps from time to time; never ends by itself. `store` has the documents that this server keeps.
pub(super) async fn sweep(tree: Tree, store: Option<PathBuf>, bundles: PathBuf) {
    let mut pause = FIRST_AFTER;
    loop {
        sleep(pause).await;
        pause = EVERY;
        let (tree, store, bundles) = (tree.clone(), store.clone(), bundles.clone());
        let sweep = move || sweep_once(&tree, store.as_deref(), &bundles, SystemTime::now());
        match tokio::task::spawn_blocking(sweep).await {
            Ok(Ok(Some(swept))) if !swept.bundles.is_empty() => {
                let count = swept.bundles.len();
                note(format_args!("{count} old bundles are removed: {} bytes", swept.bytes));
            }
            // Somebody is at it; what is old is so in an hour too.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(why)) => note(format_args!("old bundles are not removed: {why}")),
        }
    }
}

/// One sweep; nothing when somebody adds or reads a bundle.
fn sweep_once(
    tree: &Tree,
    store: Option<&Path>,
    bundles: &Path,
    now: SystemTime,
) -> Result<Option<Swept>, String> {
    if !bundles.is_dir() {
        return Ok(None);
    }
    let mut keep = ordered(tree)?;
    if let Some(store) = store {
        keep.extend(managed(store)?);
    }
    let newer_than = now - Duration::from_secs(DAYS * 24 * 60 * 60);
    let retention = Retention { keep: &keep, newer_than, last: LAST };
    let spared_since = now - BROKEN_OFF_STAYS;
    let swept =
        Store::open(bundles).and_then(|store| store.retain_unless_busy(retention, spared_since));
    swept.map_err(|error| error.to_string())
}

/// What the orders of all apps and the copies of their documents speak for.
fn ordered(tree: &Tree) -> Result<Vec<Digest>, String> {
    let mut keep = Vec::new();
    for app in tree.all_apps() {
        let kept = durable::read::<Kept>(&app.kept_file()).map_err(|error| error.to_string())?;
        let order = kept.and_then(|kept| kept.order);
        let releases = order.into_iter().flat_map(|order| order.releases.into_values());
        keep.extend(releases.map(|release| release.bundle.digest));
        // A copy that cannot be read is worth nothing, also for going back.
        let copy: Option<Document> = durable::read(&app.copy_file()).unwrap_or_default();
        keep.extend(copy.iter().flat_map(digests));
    }
    Ok(keep)
}

/// What the documents of the environments speak for that this server manages.
fn managed(store: &Path) -> Result<Vec<Digest>, String> {
    let mut keep = Vec::new();
    for app in names(store) {
        for environment in names(&store.join(&app)) {
            let (Ok(app), Ok(environment)) = (app.parse(), environment.parse()) else { continue };
            let documents = DirectoryStore::new(store, &app, &environment);
            let stored = documents
                .read()
                .map_err(|error| format!("the document of {app}/{environment}: {error}"))?;
            keep.extend(stored.iter().flat_map(|stored| digests(&stored.document)));
        }
    }
    Ok(keep)
}

fn digests(document: &Document) -> Vec<Digest> {
    document.releases.values().map(|release| release.bundle.digest).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use onward_core::model::{BundleRef, Config, Release, ReleaseNumber, WriteId};
    use onward_core::order::{Level, Order, ReleaseOrder};
    use onward_store::bundle::{AddOptions, Source, TreeSource};

    use super::*;

    const OLD: u64 = 30 * 24 * 60 * 60;

    struct World {
        directory: tempfile::TempDir,
        now: SystemTime,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self { directory, now: SystemTime::now() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn tree(&self) -> Tree {
            Tree::new(self.path("root"))
        }

        fn store(&self) -> Store {
            Store::open(self.path("bundles")).unwrap()
        }

        /// A bundle of its own content, added so many seconds ago.
        fn bundle(&self, text: &str, seconds: u64) -> Digest {
            let source = tempfile::tempdir().unwrap();
            fs::write(source.path().join("file"), text).unwrap();
            let tree = TreeSource { root: source.path().into(), include: vec![] };
            let now = self.now - Duration::from_secs(seconds);
            let options = AddOptions { now, progress: None };
            self.store().add(&Source::Tree(tree), options).unwrap().digest
        }

        /// Bundles of today, so that no other is one of the last.
        fn later_ones(&self) {
            for number in 0..LAST {
                self.bundle(&format!("later {number}"), 3600 - number as u64);
            }
        }

        fn order(&self, app: &str, bundle: Digest) {
            let mut order = Order::nothing(&document(app, None), &"one".parse().unwrap());
            let bundle = BundleRef { digest: bundle, label: "v1".into() };
            let config = Config::default().into();
            let level = Level::Staged;
            let release = ReleaseOrder { level, background: false, warm_ms: None, bundle, config };
            order.releases.insert(ReleaseNumber(1), release);
            let kept = Kept { order: Some(order), ..Kept::default() };
            let app = self.tree().app(&app.parse().unwrap(), &"production".parse().unwrap());
            fs::create_dir_all(app.directory()).unwrap();
            durable::write(&app.kept_file(), &kept, durable::Survives::Exit).unwrap();
        }

        fn sweep(&self) -> Result<Option<Swept>, String> {
            let state = self.path("state");
            sweep_once(&self.tree(), Some(&state), &self.path("bundles"), self.now)
        }

        fn has(&self, bundle: Digest) -> bool {
            self.store().has(bundle).unwrap()
        }
    }

    fn document(app: &str, bundle: Option<Digest>) -> Document {
        let (app, environment) = (app.parse().unwrap(), "production".parse().unwrap());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut document = Document::first(app, environment, WriteId::new("w"), now);
        document.last_release = ReleaseNumber(1);
        document.releases.extend(bundle.map(|digest| {
            let bundle = BundleRef { digest, label: "v1".into() };
            let (number, config) = (ReleaseNumber(1), Config::default().into());
            (number, Release { number, bundle, config, created: now })
        }));
        document
    }

    #[test]
    fn what_nothing_speaks_for_goes() {
        let world = World::new();
        let ordered = world.bundle("ordered", OLD);
        let of_another = world.bundle("of another app", OLD);
        let managed = world.bundle("managed", OLD);
        let copied = world.bundle("copied", OLD);
        let forgotten = world.bundle("forgotten", OLD);
        let young = world.bundle("young", 6 * 24 * 60 * 60);
        world.later_ones();
        world.order("shop", ordered);
        world.order("blog", of_another);
        let state = DirectoryStore::new(
            &world.path("state"),
            &"wiki".parse().unwrap(),
            &"production".parse().unwrap(),
        );
        let written = state.write(None, &document("wiki", Some(managed)).into());
        assert!(matches!(written, onward_core::outcome::Outcome::Done(_)), "{written:?}");
        let shop = world.tree().app(&"shop".parse().unwrap(), &"production".parse().unwrap());
        let copy = document("shop", Some(copied));
        durable::write(&shop.copy_file(), &copy, durable::Survives::Exit).unwrap();

        let swept = world.sweep().unwrap().unwrap();
        assert_eq!(swept.bundles, [forgotten]);
        for bundle in [ordered, of_another, managed, copied, young] {
            assert!(world.has(bundle));
        }
    }

    #[test]
    fn nothing_goes_when_an_order_or_a_document_cannot_be_read() {
        let world = World::new();
        let forgotten = world.bundle("forgotten", OLD);
        world.later_ones();
        world.order("shop", forgotten);
        let shop = world.tree().app(&"shop".parse().unwrap(), &"production".parse().unwrap());
        let order = fs::read(shop.kept_file()).unwrap();
        fs::write(shop.kept_file(), "{").unwrap();
        assert!(world.sweep().is_err());
        fs::write(shop.kept_file(), order).unwrap();
        let state = world.path("state/shop/production");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("state.json"), "{").unwrap();
        assert!(world.sweep().is_err());
        assert!(world.has(forgotten));
    }

    #[test]
    fn what_is_asked_for_is_young_again_and_what_arrives_is_left_alone() {
        let world = World::new();
        let wanted = world.bundle("wanted", OLD);
        let forgotten = world.bundle("forgotten", OLD);
        world.later_ones();
        assert!(world.store().has_and_renews(wanted, world.now).unwrap());

        let store = world.store();
        let manifest = store.packed_manifest(wanted, None).unwrap();
        let arrival =
            onward_store::bundle::Arrival::begin(&store, wanted, None, &manifest).unwrap();
        assert_eq!(world.sweep().unwrap(), None, "a bundle arrives");
        drop(arrival);
        assert_eq!(world.sweep().unwrap().unwrap().bundles, [forgotten]);
        assert!(world.has(wanted));
    }
}
