//! Documents of every schema that was ever written stay readable, and read as they were meant.
//!
//! A file here is never changed. When the shape changes, the new one gets a file of its own.

use onward_core::document::{Document, Ended, Phase};
use onward_core::model::ReleaseNumber;

const SCHEMA_1_REST: &[u8] = include_bytes!("../golden/schema-1-at-rest.json");
const SCHEMA_1_FLIGHT: &[u8] = include_bytes!("../golden/schema-1-in-flight.json");

#[test]
fn schema_1_at_rest() {
    let document = Document::decode(SCHEMA_1_REST).expect("it stays readable");
    assert_eq!(document.serving, Some(ReleaseNumber(2)));
    assert_eq!(document.warm, Some(ReleaseNumber(1)));
    assert_eq!(document.history.len(), 2);
    assert!(document.history.iter().all(|own| own.outcome == Ended::Done));
    assert_eq!(document.encode(), SCHEMA_1_REST, "the shape has changed without a new schema");
}

#[test]
fn schema_1_in_flight() {
    let document = Document::decode(SCHEMA_1_FLIGHT).expect("it stays readable");
    let operation = document.operation.as_ref().expect("in flight");
    assert_eq!(operation.phase, Phase::Stage);
    assert_eq!(document.encode(), SCHEMA_1_FLIGHT, "the shape has changed without a new schema");
}
