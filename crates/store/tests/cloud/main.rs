//! The store in a bucket, against buckets that really speak the protocols.

mod contract;
mod emulators;
mod moving;
mod probing;
mod trouble;

use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{AppName, EnvironmentName, Generation, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, Stored};
use onward_store::state::cloud::CloudStore;
use onward_testkit::bucket::Bucket;

fn app() -> AppName {
    "shop".parse().expect("a legal name")
}

fn environment() -> EnvironmentName {
    "local".parse().expect("a legal name")
}

/// A store below a prefix of the bucket.
fn store(bucket: &Bucket, prefix: &str) -> CloudStore {
    let url = bucket.url(prefix).parse().expect("a legal URL");
    CloudStore::open_with(&url, &app(), &environment(), &Bucket::variable).expect("it can be used")
}

fn first(by: &str) -> Arc<Document> {
    let write_id = WriteId::new(by);
    Arc::new(Document::first(app(), environment(), write_id, Timestamp::UNIX_EPOCH))
}

fn next(current: &Stored, by: &str) -> Arc<Document> {
    let mut next = Document::clone(&current.document);
    next.generation = next.generation.next();
    next.parent = Some(current.digest);
    next.write_id = WriteId::new(by);
    Arc::new(next)
}

/// Writes that nobody disturbs, up to a generation.
fn written(store: &CloudStore, generations: u64) -> Stored {
    let mut last = match store.write(None, &first("write-1")) {
        Outcome::Done(stored) => stored,
        other => panic!("{other:?}"),
    };
    for n in 2..=generations {
        let document = next(&last, &format!("write-{n}"));
        last = match store.write(Some(Generation(n - 1)), &document) {
            Outcome::Done(stored) => stored,
            other => panic!("{other:?}"),
        };
    }
    last
}
