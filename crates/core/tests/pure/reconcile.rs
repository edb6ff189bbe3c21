//! What an agent does about single facts.

use std::collections::BTreeMap;

use onward_core::engine::order;
use onward_core::model::{OperationNumber, ReleaseNumber};
use onward_core::order::{Level, WatchOrder};
use onward_core::reconcile::{
    Action, BACKOFF_FIRST_MS, BACKOFF_MAX_MS, Facts, Files, Kept, RouteFact, Slot, SlotId,
    SlotState, WatchFact, backoff_ms, reconcile,
};

use crate::make::{name, serving};

const ONE: ReleaseNumber = ReleaseNumber(1);

fn kept() -> Kept {
    Kept { order: order(&serving(), &name("one")), ..Kept::default() }
}

fn slot_id(process: &str) -> SlotId {
    SlotId { release: ONE, process: process.parse().expect("a legal name"), index: 1 }
}

fn slot(state: SlotState) -> Slot {
    Slot {
        state,
        pid: Some(7),
        port: Some(3_000),
        was_ready: true,
        early_exits: 0,
        restarts: 0,
        failure: None,
        adopted: false,
    }
}

/// What the order says about other servers' proxies.
fn key() -> Option<String> {
    kept().order.and_then(|order| order.fleet_key)
}

/// Everything is as the order wants it.
fn settled() -> Facts {
    let web = slot_id("web");
    Facts {
        files: BTreeMap::from([(ONE, Files::Verified)]),
        slots: BTreeMap::from([(web.clone(), slot(SlotState::Ready))]),
        route: Some(RouteFact {
            release: ONE,
            slots: BTreeMap::from([(web, 3_000)]),
            peers: BTreeMap::new(),
            maintenance: None,
            key: key(),
        }),
        ..Facts::default()
    }
}

fn actions(facts: &Facts) -> Vec<Action> {
    reconcile(&kept(), facts).actions
}

#[test]
fn what_is_so_already_needs_nothing() {
    let reconciled = reconcile(&kept(), &settled());
    assert_eq!(reconciled.actions, []);
    assert!(reconciled.report.converged);
    assert_eq!(reconciled.report.level(ONE), Level::Routed);
}

#[test]
fn without_an_order_nothing_is_touched() {
    assert_eq!(reconcile(&Kept::default(), &settled()).actions, []);
}

#[test]
fn files_go_from_nothing_to_verified_before_anything_starts() {
    let mut facts = Facts::default();
    assert_eq!(actions(&facts), [Action::Stage(ONE)]);
    for (files, expected) in [
        (Files::Staging, None),
        (Files::Staged, Some(Action::Verify(ONE))),
        (Files::Verifying, None),
        (Files::Verified, Some(Action::Start(slot_id("web")))),
    ] {
        facts.files.insert(ONE, files);
        assert_eq!(actions(&facts), expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_server_that_lost_its_role_gives_its_traffic_up_first() {
    let mut document = serving();
    document.servers.get_mut(&name("one")).expect("one").roles.clear();
    let kept = Kept { order: order(&document, &name("one")), ..Kept::default() };
    let mut facts = settled();
    let none = RouteFact {
        release: ONE,
        slots: BTreeMap::new(),
        peers: BTreeMap::new(),
        key: key(),
        maintenance: None,
    };
    assert_eq!(reconcile(&kept, &facts).actions, [Action::Route(Some(none.clone()))]);
    facts.route = Some(none);
    assert_eq!(reconcile(&kept, &facts).actions, [Action::Stop(slot_id("web"))]);
}

#[test]
fn a_watch_ends_well_only_with_every_instance_ready() {
    let mut kept = kept();
    let operation = OperationNumber(2);
    kept.order.as_mut().expect("an order").watch =
        Some(WatchOrder { operation, release: ONE, previous: None, for_ms: 10 });
    let mut facts = settled();
    facts.watch = Some(WatchFact {
        operation,
        elapsed_ms: 10,
        ended: None,
        requests: 0,
        app_errors: 0,
        requests_before: 0,
        app_errors_before: 0,
        outcome: None,
    });
    let ends = |facts: &Facts| {
        let actions = reconcile(&kept, facts).actions;
        actions.iter().any(|action| matches!(action, Action::EndWatch(..)))
    };
    assert!(ends(&facts));
    facts.slots.insert(slot_id("web"), slot(SlotState::Starting { overdue: false }));
    assert!(!ends(&facts), "it has not answered");
    facts.slots.clear();
    assert!(!ends(&facts), "after a reboot nothing runs yet");
}

#[test]
fn pauses_double_within_their_bounds() {
    for failures in 0..100 {
        for jitter in [0, 1, 77, u64::MAX] {
            let pause = backoff_ms(failures, jitter);
            assert!((BACKOFF_FIRST_MS * 3 / 4..=BACKOFF_MAX_MS).contains(&pause), "{pause}");
        }
    }
    assert_eq!([1, 2, 3, 9, 10].map(|n| backoff_ms(n, 0)), [100, 200, 400, 25_600, 30_000]);
}
