//! Edits of the demand that a person made past the verbs, and what `up` does about them.

use onward_core::document::Document;
use onward_core::model::{BundleRef, Config};

use super::outcome;

/// Whether an edit waits to be followed and the project brings nothing that was not released
/// before: then the edit is what is wanted now. A tree that is new takes the place of the edit.
pub fn goes_first(document: &Document, bundle: &BundleRef, config: &Config) -> bool {
    let Ok(config) = &document.with_secret_versions(config) else { return false };
    let is_known = document
        .releases
        .values()
        .any(|release| release.bundle.digest == bundle.digest && *release.config == *config);
    is_known && outcome::pending_edit(document).is_some()
}
