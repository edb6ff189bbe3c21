//! Weak stores are refused, each with what it does; a good one passes and is not asked again.

use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, WriteRefused};
use onward_store::state::cloud::Weakness;
use onward_testkit::bucket::{Bucket, Dialect, Habit};

use super::{first, store};

/// The first write to a bucket with a habit.
fn refused(dialect: Dialect, habit: Habit) -> String {
    let bucket = Bucket::with_habit(dialect, habit);
    let store = store(&bucket, "state");
    let outcome = store.write(None, &first("one"));
    let Outcome::Refused(WriteRefused::Store(StoreError::Unfit { reason, .. })) = outcome else {
        panic!("{dialect:?} {habit:?}: {outcome:?}");
    };
    let documents = bucket.keys().into_iter().filter(|key| key.contains("/shop/")).count();
    assert_eq!(documents, 0, "{habit:?}: nothing is written to a weak store");
    reason
}

#[test]
fn weak_stores_are_refused_with_what_they_do() {
    for (habit, weakness) in [
        (Habit::RefusesConditions, Weakness::NoConditions),
        (Habit::IgnoresCreate, Weakness::CreatesTwice),
        (Habit::IgnoresMatch, Weakness::ReplacesStale),
        (Habit::TwoSteps, Weakness::BothWin),
        (Habit::StaleReads, Weakness::StaleReads),
        (Habit::Drops, Weakness::StaleReads),
        (Habit::Truncates, Weakness::LosesWrites),
        (Habit::NoEtag, Weakness::NoVersions),
        (Habit::WeakEtag, Weakness::NoVersions),
        (Habit::SameEtag, Weakness::SameVersion),
        (Habit::LateLists, Weakness::LateLists),
    ] {
        assert_eq!(refused(Dialect::S3, habit), weakness.to_string(), "{habit:?}");
    }
}

#[test]
fn the_other_clouds_conditions_are_tried_too() {
    for dialect in [Dialect::Google, Dialect::Azure] {
        for (habit, weakness) in [
            (Habit::RefusesConditions, Weakness::NoConditions),
            (Habit::IgnoresCreate, Weakness::CreatesTwice),
            (Habit::IgnoresMatch, Weakness::ReplacesStale),
            (Habit::TwoSteps, Weakness::BothWin),
            (Habit::StaleReads, Weakness::StaleReads),
        ] {
            assert_eq!(refused(dialect, habit), weakness.to_string(), "{dialect:?} {habit:?}");
        }
    }
}

#[test]
fn a_good_store_passes_once_and_for_all() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        let bucket = Bucket::start(dialect);
        store(&bucket, "state").probe().expect("a strict store passes");
        let one = store(&bucket, "state");
        assert!(matches!(one.write(None, &first("one")), Outcome::Done(_)));
        let asked = one.requests();
        let another = store(&bucket, "state");
        assert_eq!(
            another.write(None, &first("two")),
            Outcome::Refused(WriteRefused::Conflict),
            "{dialect:?}"
        );
        assert!(another.requests() < 8, "{dialect:?}: {} requests", another.requests());
        assert!(asked > 30, "{dialect:?}: it was tried at the first write: {asked} requests");
    }
}

#[test]
fn what_cannot_be_asked_is_not_called_weak() {
    let bucket = Bucket::start(Dialect::S3);
    bucket.plan(|_| onward_testkit::bucket::Trouble::OnlyAnswered(403));
    let outcome = store(&bucket, "state").write(None, &first("one"));
    let Outcome::Refused(WriteRefused::Store(StoreError::Unavailable { reason, place })) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, "the store answered 403 SlowDown: the fake says so");
    assert!(place.starts_with("s3://bucket/state/onward-probe"), "{place}");
}
