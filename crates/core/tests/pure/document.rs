//! What a document says of itself.

use onward_core::document::{Document, HISTORY_MAX, InvalidDocument, RELEASES_KEPT, SCHEMA};
use onward_core::engine::{Advance, Ask, advance};
use onward_core::model::{Generation, OperationNumber, ReleaseNumber};
use onward_core::order::Level;

use crate::make::{NOW, all, deploy, empty, recorded, report, request, serving, stamped};

#[test]
fn what_was_encoded_is_decoded() {
    for document in [empty(), serving(), recorded(&serving(), &request("r", deploy("two")))] {
        assert_eq!(Document::decode(&document.encode()), Ok(document));
    }
}

#[test]
fn contradictions_are_named() {
    type Change = fn(&mut Document);
    let cases: [(Change, &str); 7] = [
        (|d| d.schema = SCHEMA + 1, "schema"),
        (|d| d.demand.release = Some(ReleaseNumber(9)), "demand.release is release 9"),
        (|d| d.serving = Some(ReleaseNumber(8)), "serving is release 8"),
        (|d| d.warm = Some(ReleaseNumber(7)), "warm is release 7"),
        (|d| d.last_release = ReleaseNumber(0), "above last_release"),
        (|d| d.releases.get_mut(&ReleaseNumber(1)).expect("1").number.0 = 5, "has the number 5"),
        (
            |d| {
                *d = {
                    let mut next = recorded(d, &request("r", deploy("two")));
                    next.last_operation = OperationNumber(0);
                    next
                }
            },
            "operation.number is above last_operation",
        ),
    ];
    for (change, words) in cases {
        let mut document = serving();
        change(&mut document);
        let message = document.validate().expect_err(words);
        assert!(message.contains(words), "{message}");
        assert_eq!(
            Document::decode(&document.encode()),
            Err(InvalidDocument::Meaning(message)),
            "a contradiction is not read"
        );
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    let text = String::from_utf8(serving().encode()).expect("JSON is text");
    let text = text.replacen("\"warm\"", "\"wram\"", 1);
    let Err(InvalidDocument::Syntax { line, reason, .. }) = Document::decode(text.as_bytes())
    else {
        panic!("a wrong key is an error");
    };
    assert!(reason.contains("wram") && line > 1, "{line}: {reason}");
}

/// Deploys that are done, one after the other; each ends at once.
fn after_deploys(count: usize) -> Document {
    let mut document = serving();
    for n in 0..count {
        let asked = request(&format!("request-{n}"), deploy(&format!("bundle-{n}")));
        document = recorded(&document, &asked);
        let aborted = request(&format!("abort-{n}"), Ask::Abort);
        document = recorded(&document, &aborted);
    }
    document
}

#[test]
fn history_and_requests_are_bounded() {
    let document = after_deploys(150);
    assert_eq!(document.history.len(), HISTORY_MAX);
    assert_eq!(document.last_operation, OperationNumber(151));
    assert_eq!(document.requests.len(), onward_core::document::REQUESTS_KEPT);
    assert_eq!(document.history.last().map(|own| own.number), Some(document.last_operation));
    assert_eq!(document.releases.len(), 1, "what was aborted cannot run");
}

/// One deploy after the other to its end, phase by phase.
pub fn carried(mut document: Document, name: &str) -> Document {
    document = recorded(&document, &request(name, deploy(name)));
    let new = document.last_release.0;
    while document.operation.is_some() {
        let mut told = report(&document, new, Level::Routed);
        let number = document.last_operation;
        told.watch = Some(onward_core::report::WatchReport {
            operation: number,
            outcome: onward_core::report::Progress::Done,
        });
        match advance(&document, &all(&document, &told), NOW) {
            Advance::Write(next) => document = stamped(&document, *next),
            other => panic!("{other:?} in {:?}", document.operation),
        }
    }
    document
}

#[test]
fn the_last_releases_are_kept_and_what_is_in_use() {
    let mut document = serving();
    for n in 0..14 {
        document = carried(document, &format!("bundle-{n}"));
    }
    assert_eq!(document.serving, Some(ReleaseNumber(15)));
    assert_eq!(document.warm, Some(ReleaseNumber(14)));
    assert_eq!(document.releases.len(), RELEASES_KEPT);
    assert!(document.generation > Generation(60));
}

#[test]
fn a_demand_that_was_edited_meanwhile_keeps_its_release() {
    let mut document = serving();
    for n in 0..9 {
        document = carried(document, &format!("bundle-{n}"));
    }
    document = recorded(&document, &request("last", deploy("last")));
    document.demand.release = Some(ReleaseNumber(1));
    let abort = recorded(&document, &request("stop", Ask::Abort));
    assert_eq!(abort.demand.release, Some(ReleaseNumber(1)));
    assert_eq!(abort.validate(), Ok(()));
    let followed = advance(&abort, &all(&abort, &report(&abort, 10, Level::Routed)), NOW);
    let Advance::Write(next) = followed else { panic!("the edit is followed") };
    assert_eq!(next.operation.and_then(|own| own.release), Some(ReleaseNumber(1)));
}
