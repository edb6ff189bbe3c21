//! Properties over documents that requests and reports make.

use onward_core::document::Document;
use onward_core::engine::{Advance, Ask, Submitted, advance, order, submit};
use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use onward_core::report::{Progress, WatchReport};
use proptest::prelude::*;

use crate::make::{NOW, all, config, deploy_with, empty, name, report, request, stamped};

#[derive(Debug, Clone)]
enum Happens {
    Asked(u8, u8),
    Reported(u8, bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0..6u8, 0..8u8).prop_map(|(kind, n)| Happens::Asked(kind, n)),
        (0..4u8, any::<bool>()).prop_map(|(level, well)| Happens::Reported(level, well)),
    ]
}

fn ask(kind: u8, n: u8) -> Ask {
    match kind {
        0 => Ask::Abort,
        1 => Ask::Down,
        2 => Ask::Rollback { to: None },
        3 => Ask::Rollback { to: Some(ReleaseNumber(u64::from(n))) },
        _ => {
            let processes: &[&str] =
                if n.is_multiple_of(2) { &["web"] } else { &["web", "worker"] };
            deploy_with(&format!("bundle-{n}"), config(processes))
        }
    }
}

/// The document after some of what may happen to it.
fn after(happened: &[Happens]) -> Document {
    let mut document = empty();
    for (index, own) in happened.iter().enumerate() {
        let next = match own {
            Happens::Asked(kind, n) => {
                let asked = request(&format!("request-{index}"), ask(*kind, *n));
                match submit(&document, &asked, NOW) {
                    Submitted::Record(next, _) => Some(next),
                    _ => None,
                }
            }
            Happens::Reported(level, well) => decided(&document, *level, *well),
        };
        if let Some(next) = next {
            document = stamped(&document, *next);
        }
    }
    document
}

fn decided(document: &Document, level: u8, well: bool) -> Option<Box<Document>> {
    let levels = [Level::Gone, Level::Staged, Level::Running, Level::Routed];
    let release = document.operation.as_ref().and_then(|own| own.release);
    let number = release.or(document.serving).unwrap_or_default();
    let mut told = report(document, number.0, levels[usize::from(level)]);
    let outcome = if well { Progress::Done } else { Progress::Failed(Default::default()) };
    told.watch = Some(WatchReport { operation: document.last_operation, outcome });
    match advance(document, &all(document, &told), NOW) {
        Advance::Write(next) => Some(next),
        Advance::Wait | Advance::Rest => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn documents_stay_valid_and_read_as_written(happened in prop::collection::vec(happens(), 0..60)) {
        let document = after(&happened);
        prop_assert_eq!(document.validate(), Ok(()));
        prop_assert_eq!(Document::decode(&document.encode()), Ok(document));
    }

    #[test]
    fn an_order_is_a_function_of_what_is_written(happened in prop::collection::vec(happens(), 0..60)) {
        let document = after(&happened);
        let read = Document::decode(&document.encode()).expect("it reads");
        for server in document.servers.keys() {
            let (one, two) = (order(&document, server), order(&read, server));
            prop_assert_eq!(&one, &two);
            let one = one.expect("it is a server");
            prop_assert_eq!(one.generation, document.generation);
            let routed = one.releases.values().filter(|own| own.level == Level::Routed).count();
            prop_assert!(routed <= 1);
            let in_background = one.releases.values().filter(|own| own.background).count();
            prop_assert!(in_background <= 1);
        }
        prop_assert_eq!(order(&document, &name("stranger")), None);
    }

    #[test]
    fn at_rest_nothing_more_is_written(happened in prop::collection::vec(happens(), 0..60)) {
        let mut document = after(&happened);
        document.operation = None;
        document.demand.release = document.serving;
        let serving = document.serving.unwrap_or_default();
        let told = report(&document, serving.0, Level::Routed);
        prop_assert_eq!(advance(&document, &all(&document, &told), NOW), Advance::Rest);
    }

    #[test]
    fn a_request_is_recorded_once(happened in prop::collection::vec(happens(), 0..40), kind in 0..6u8, n in 0..8u8) {
        let document = after(&happened);
        let asked = request("the one", ask(kind, n));
        if let Submitted::Record(next, number) = submit(&document, &asked, NOW) {
            prop_assert_eq!(submit(&next, &asked, NOW), Submitted::Already(number));
        }
    }
}
