//! Lost answers, hands in the bucket, crashes between two objects.

use std::time::{Duration, Instant};

use onward_core::model::{Generation, ReleaseNumber, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, WriteRefused};
use onward_testkit::bucket::{Asked, Bucket, Dialect, Trouble};

use super::{first, next, store, written};

const HEAD: &str = "state/shop/local/state.json";

fn recorded(generation: u64) -> String {
    format!("state/shop/local/history/{generation:08}.json")
}

/// Makes trouble of the first write of the head, and of nothing else.
fn once(bucket: &Bucket, trouble: Trouble) {
    let mut done = false;
    bucket.plan(move |asked: &Asked| {
        let hit = !done && asked.method == "PUT" && asked.key == HEAD;
        done |= hit;
        if hit { trouble } else { Trouble::None }
    });
}

#[test]
fn a_lost_answer_is_recognised_as_our_own() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        for trouble in [
            Trouble::AnswerLost,
            Trouble::NeverArrives,
            Trouble::ArrivesLater,
            Trouble::DoneAndAnswered(500),
            Trouble::DoneAndAnswered(503),
            Trouble::OnlyAnswered(503),
            Trouble::OnlyAnswered(429),
            Trouble::OnlyAnswered(409),
            Trouble::DoneAndAnswered(408),
        ] {
            let bucket = Bucket::start(dialect);
            let store = store(&bucket, "state");
            let one = written(&store, 1);
            once(&bucket, trouble);
            let two = next(&one, "two");
            let outcome = store.write(Some(Generation(1)), &two);
            let Outcome::Done(stored) = outcome else {
                panic!("{dialect:?} {trouble:?}: {outcome:?}");
            };
            let fresh = super::store(&bucket, "state");
            assert_eq!(fresh.read(), Ok(Some(stored.clone())), "{dialect:?} {trouble:?}");
            assert_eq!(fresh.read_generation(Generation(2)), Ok(Some(stored)));
            assert_eq!(fresh.read_generation(Generation(3)), Ok(None));
        }
    }
}

#[test]
fn the_first_document_survives_lost_answers_too() {
    for trouble in [Trouble::AnswerLost, Trouble::ArrivesLater, Trouble::DoneAndAnswered(500)] {
        let bucket = Bucket::start(Dialect::S3);
        once(&bucket, trouble);
        let store = store(&bucket, "state");
        assert!(matches!(store.write(None, &first("one")), Outcome::Done(_)), "{trouble:?}");
    }
}

/// Ours happened and its answer was lost; before we look, others have written on top of it.
#[test]
fn a_write_that_others_have_built_upon_is_still_ours() {
    let bucket = Bucket::start(Dialect::S3);
    let ours = store(&bucket, "state");
    let one = written(&ours, 1);
    once(&bucket, Trouble::AnswerLost);
    let two = next(&one, "two");
    // Another one writes in the pause of the first, as soon as it sees the second generation.
    std::thread::scope(|scope| {
        let theirs = store(&bucket, "state");
        let other = scope.spawn(move || {
            loop {
                let read = theirs.read().expect("readable").expect("there");
                if read.document.generation == Generation(2) {
                    return theirs.write(Some(Generation(2)), &next(&read, "three"));
                }
            }
        });
        let outcome = ours.write(Some(Generation(1)), &two);
        assert!(matches!(&outcome, Outcome::Done(s) if s.document.write_id == WriteId::new("two")));
        assert!(matches!(other.join().expect("no panic"), Outcome::Done(_)));
    });
    assert_eq!(ours.read().expect("readable").expect("there").document.generation, Generation(3));
}

#[test]
fn a_bucket_that_stays_silent_is_unknown_and_in_time() {
    let bucket = Bucket::start(Dialect::S3);
    let store = store(&bucket, "state");
    let one = written(&store, 1);
    bucket.plan(|asked| match asked.method.as_str() {
        "PUT" => Trouble::NeverArrives,
        _ => Trouble::None,
    });
    let began = Instant::now();
    let outcome = store.write(Some(Generation(1)), &next(&one, "two"));
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
    bucket.plan(|_| Trouble::None);
    assert_eq!(store.read(), Ok(Some(one)), "it never happened");
}

#[test]
fn a_refusal_is_a_refusal_at_once() {
    let bucket = Bucket::start(Dialect::S3);
    let store = store(&bucket, "state");
    let one = written(&store, 1);
    once(&bucket, Trouble::OnlyAnswered(403));
    let before = store.requests();
    let outcome = store.write(Some(Generation(1)), &next(&one, "two"));
    let Outcome::Refused(WriteRefused::Store(StoreError::Unavailable { place, .. })) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(place, "s3://bucket/state/shop/local/state.json");
    assert_eq!(store.requests() - before, 1, "nothing is tried again");
}

#[test]
fn a_crash_between_the_head_and_its_copy_is_mended_by_the_next_reader() {
    let bucket = Bucket::start(Dialect::S3);
    let last = written(&store(&bucket, "state"), 3);
    bucket.remove(&recorded(3));
    let reader = store(&bucket, "state");
    assert_eq!(reader.read(), Ok(Some(last.clone())));
    assert_eq!(reader.read_generation(Generation(3)), Ok(Some(last)));
}

/// Edits the head by hand.
fn edit(bucket: &Bucket, change: impl FnOnce(String) -> String) {
    let text = String::from_utf8(bucket.object(HEAD).expect("a head")).expect("text");
    bucket.put(HEAD, change(text).as_bytes());
}

#[test]
fn a_valid_edit_in_the_bucket_is_obeyed_chained_and_recorded() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        let bucket = Bucket::start(dialect);
        let writer = store(&bucket, "state");
        let two = written(&writer, 2);
        edit(&bucket, |text| {
            text.replace("\"generation\": 2", "\"generation\": 3")
                .replace("\"last_operation\": 0", "\"last_operation\": 7")
        });
        // Several at once, one of which knew the head as it was.
        let read: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| store(&bucket, "state").read().expect("readable")))
                .collect();
            let own = writer.read().expect("readable");
            let read = others.into_iter().map(|other| other.join().expect("no panic"));
            read.chain([own]).collect()
        });
        for stored in &read {
            let stored = stored.as_ref().expect("there");
            assert_eq!(stored.document.generation, Generation(3));
            assert_eq!(stored.document.parent, Some(two.digest), "chained");
            assert_eq!(stored.document.write_id, WriteId::new("edit-3"));
            assert_eq!(stored.document.last_operation.0, 7);
            assert_eq!(Some(stored), read[0].as_ref());
        }
        assert_eq!(bucket.object(HEAD), bucket.object(&recorded(3)), "recorded");
        let stored = read[0].as_ref().expect("there");
        let outcome = writer.write(Some(Generation(3)), &next(stored, "four"));
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
}

/// What a hand does to a bucket.
type Deed = fn(&Bucket);

#[test]
fn whatever_else_a_hand_does_is_damage_and_the_last_good_generation_stays() {
    let change: [(&str, Deed); 5] = [
        ("removed", |bucket| bucket.remove(HEAD)),
        ("no document", |bucket| bucket.put(HEAD, b"{}")),
        ("same generation", |bucket| {
            edit(bucket, |text| text.replace("\"last_operation\": 0", "\"last_operation\": 7"));
        }),
        ("far generation", |bucket| {
            edit(bucket, |text| text.replace("\"generation\": 3", "\"generation\": 9"));
        }),
        ("an old one again", |bucket| {
            let old = bucket.object(&recorded(2)).expect("recorded");
            bucket.put(HEAD, &old);
        }),
    ];
    for (what, change) in change {
        let bucket = Bucket::start(Dialect::S3);
        let writer = store(&bucket, "state");
        let last = written(&writer, 3);
        change(&bucket);
        let broken = bucket.object(HEAD);
        for store in [&writer, &store(&bucket, "state")] {
            let read = store.read();
            assert!(
                matches!(&read, Err(StoreError::Damaged { last_good: Generation(3), .. })),
                "{what}: {read:?}"
            );
        }
        let outcome = writer.write(Some(Generation(3)), &next(&last, "four"));
        assert!(
            matches!(
                &outcome,
                Outcome::Refused(
                    WriteRefused::Store(StoreError::Damaged { .. }) | WriteRefused::Conflict
                )
            ),
            "{what}: {outcome:?}"
        );
        assert_eq!(bucket.object(HEAD), broken, "{what}: nothing is written over it");
        let difference = writer.difference().expect("readable").expect("there is one");
        assert_eq!(difference.good, last, "{what}");
        assert_eq!(difference.found, broken, "{what}");
        let good = (*difference.good.document).clone();
        let settled = writer.settle(&difference.good, good, WriteId::new("undo"));
        assert!(matches!(settled, Outcome::Done(_)), "{what}: {settled:?}");
        let read = store(&bucket, "state").read().expect("readable").expect("there");
        assert_eq!(read.document.generation, Generation(4), "{what}");
        assert_eq!(read.document.parent, Some(last.digest), "{what}");
    }
}

/// A copy that is there before its head: somebody put it there, or a store kept what it refused.
#[test]
fn a_history_object_that_no_head_had_is_not_taken_for_truth() {
    let bucket = Bucket::start(Dialect::S3);
    let writer = store(&bucket, "state");
    let last = written(&writer, 2);
    let mut lost = (*next(&last, "lost")).clone();
    lost.serving = None;
    lost.last_release = ReleaseNumber(9);
    bucket.put(&recorded(3), &lost.encode());
    assert_eq!(writer.read(), Ok(Some(last.clone())), "a writer that knows the head goes on");
    let read = store(&bucket, "state").read();
    assert!(matches!(read, Err(StoreError::Damaged { .. })), "a newcomer asks a person: {read:?}");
}

#[test]
fn long_histories_are_listed_whole() {
    let bucket = Bucket::start(Dialect::Google);
    let writer = store(&bucket, "state");
    written(&writer, 230);
    let generations = writer.generations().expect("readable");
    assert_eq!(generations, (1..=230).map(Generation).collect::<Vec<_>>());
}

/// What a deploy costs: each write of the document, and each look when nothing has changed.
#[test]
fn each_operation_costs_what_the_guide_says() {
    let bucket = Bucket::start(Dialect::S3);
    let writer = store(&bucket, "state");
    let one = written(&writer, 1);
    let counted = |what: &dyn Fn()| {
        let before = bucket.log().len();
        what();
        let log = bucket.log();
        let of = |method: &str| log[before..].iter().filter(|asked| asked.method == method).count();
        (of("GET"), of("PUT"), log.len() - before)
    };
    assert_eq!(counted(&|| drop(writer.read())), (1, 0, 1), "a look at the same");
    let two = next(&one, "two");
    assert_eq!(counted(&|| drop(writer.write(Some(Generation(1)), &two))), (0, 2, 2), "a write");
    let fresh = store(&bucket, "state");
    assert_eq!(counted(&|| drop(fresh.read())), (3, 0, 3), "the first look of a process");
    assert_eq!(counted(&|| drop(fresh.generations())), (1, 0, 1), "a list");
    let read = fresh.read().expect("readable").expect("there");
    let three = next(&read, "three");
    let first = counted(&|| drop(fresh.write(Some(Generation(2)), &three)));
    assert_eq!(first, (1, 2, 3), "the first write of a process");
}
