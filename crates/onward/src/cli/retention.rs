//! Which bundles stay: what runs, what is warm, what can be gone back to, the last five, and
//! everything of the last seven days.

use std::time::{Duration, SystemTime};

use onward_core::document::Document;
use onward_core::model::Digest;
use onward_core::ports::StateStore;
use onward_store::bundle::Retention;

use super::context::Context;
use super::numbers;
use super::screen::Screen;

/// How many of the bundles that were added last stay.
const LAST: usize = 5;
/// How long every bundle stays.
const DAYS: u64 = 7;

fn digests(document: &Document) -> Vec<Digest> {
    document.releases.values().map(|release| release.bundle.digest).collect()
}

/// Removes bundles that no environment here needs. That it cannot is no reason for a deploy to fail.
pub fn sweep(context: &Context, document: &Document, screen: &Screen) {
    let mut keep = digests(document);
    for documents in context.local.documents() {
        match documents.read() {
            Ok(Some(stored)) => keep.extend(digests(&stored.document)),
            Ok(None) => {}
            // What another environment needs is not known: nothing goes.
            Err(_) => return,
        }
    }
    let newer_than = SystemTime::now() - Duration::from_secs(DAYS * 24 * 60 * 60);
    let retention = Retention { keep: &keep, newer_than, last: LAST };
    match context.local.bundles().and_then(|bundles| bundles.retain(retention)) {
        Ok(swept) if swept.bundles.is_empty() => {}
        Ok(swept) => screen.note(&format!(
            "  {} no longer needed: {} given back",
            numbers::count(swept.bundles.len() as u64, "bundle"),
            numbers::bytes(swept.bytes)
        )),
        Err(error) => screen.warn(&format!("old bundles could not be removed: {error}")),
    }
}
