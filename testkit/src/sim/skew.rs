//! What an older version of onward would make of documents, reports and what an agent keeps.
//!
//! The older version is the first one without the fields that are optional today: it neither
//! writes them nor passes them on.

use std::sync::Arc;

use onward_core::document::Document;
use onward_core::reconcile::Kept;
use onward_core::report::Report;
use serde_json::Value;

/// The document as an older version writes it. `ended`: it is this write that ends an operation.
pub fn document_of_old_version(next: &Document, ended: bool) -> Arc<Document> {
    let mut value: Value =
        serde_json::from_slice(&next.encode()).expect("a document encodes to JSON");
    if let Some(operation) = value.get_mut("operation").and_then(Value::as_object_mut) {
        operation.remove("baseline");
    }
    let history = value.get_mut("history").and_then(Value::as_array_mut);
    if ended
        && let Some(last) =
            history.and_then(|history| history.last_mut()).and_then(Value::as_object_mut)
    {
        last.remove("proof");
        last.remove("label");
    }
    let bytes = serde_json::to_vec(&value).expect("a value encodes to JSON");
    Arc::new(Document::decode(&bytes).expect("optional fields may be missing"))
}

/// A report as an older agent sends it.
pub fn report_of_old_version(report: &mut Report) {
    report.waiting.clear();
    report.traffic = None;
    for release in report.releases.values_mut() {
        release.instances.iter_mut().for_each(|own| own.unrouted = false);
    }
}

/// What the next version of the agent reads of what this one kept.
pub fn kept_of_old_version(kept: &Kept) -> Kept {
    let bytes = serde_json::to_vec(kept).expect("what an agent keeps encodes to JSON");
    serde_json::from_slice(&bytes).expect("what was kept is read again")
}
