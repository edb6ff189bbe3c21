//! The suite that every state store passes, in each dialect.

use std::sync::atomic::{AtomicU32, Ordering};

use onward_testkit::bucket::{Bucket, Dialect};
use onward_testkit::contract::state_store;

use super::store;

fn keeps_the_contract(dialect: Dialect) {
    let bucket = Bucket::start(dialect);
    let next = AtomicU32::new(0);
    state_store::all(|| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        Box::new(store(&bucket, &format!("state/{number}")))
    });
    eprintln!("{} requests", bucket.log().len());
}

#[test]
fn a_bucket_of_s3_keeps_the_contract() {
    keeps_the_contract(Dialect::S3);
}

#[test]
fn a_bucket_of_google_keeps_the_contract() {
    keeps_the_contract(Dialect::Google);
}

#[test]
fn a_container_of_azure_keeps_the_contract() {
    keeps_the_contract(Dialect::Azure);
}
