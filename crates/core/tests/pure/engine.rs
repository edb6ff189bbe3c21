//! The phases, the ways back, and what requests do to what is in flight.

use std::collections::BTreeSet;
use std::sync::Arc;

use onward_core::document::{Ended, Failure, Phase};
use onward_core::engine::{Advance, Ask, Refusal, Submitted, advance, order, submit};
use onward_core::model::{OperationNumber, ReleaseNumber};
use onward_core::order::{CommandKind, Level};
use onward_core::report::{CommandReport, Contact, Progress, Report, WatchReport};

use crate::make::{
    NOW, all, config, deploy, deploy_with, empty, in_phase, name, recorded, report, request,
    serving, stamped,
};

fn bad(reason: &str) -> Failure {
    Failure { reason: reason.to_owned(), ..Failure::default() }
}

/// The phase after one decision; `None` when the operation ended.
fn phase_after(next: &Advance) -> Option<Phase> {
    match next {
        Advance::Write(next) => next.operation.as_ref().map(|own| own.phase),
        other => panic!("a decision was expected: {other:?}"),
    }
}

#[test]
fn every_phase_leads_to_the_next() {
    let mut full = config(&["web", "worker"]);
    full.release_command = Some("./migrate".to_owned());
    full.check_command = Some("./smoke".to_owned());
    let asked = request("r", deploy_with("two", full));
    let table = [
        (Phase::Stage, Level::Staged, Some(Phase::Command)),
        (Phase::Command, Level::Staged, Some(Phase::Start)),
        (Phase::Start, Level::Running, Some(Phase::Check)),
        (Phase::Check, Level::Running, Some(Phase::Switch)),
        (Phase::Switch, Level::Routed, Some(Phase::Exchange)),
        (Phase::Exchange, Level::Routed, Some(Phase::Watch)),
        (Phase::Watch, Level::Routed, None),
    ];
    for (phase, level, expected) in table {
        let document = in_phase(&serving(), &asked, phase);
        let mut told = report(&document, 2, level);
        let operation = document.last_operation;
        let kind = if phase == Phase::Command { CommandKind::Release } else { CommandKind::Check };
        told.command = Some(CommandReport { operation, kind, outcome: Progress::Done });
        told.watch = Some(WatchReport { operation, outcome: Progress::Done });
        let next = advance(&document, &all(&document, &told), NOW);
        assert_eq!(phase_after(&next), expected, "after {phase:?}");
        let silent = Report { accepted: document.generation, ..Report::default() };
        assert_eq!(advance(&document, &all(&document, &silent), NOW), Advance::Wait, "{phase:?}");
    }
}

#[test]
fn reports_of_an_older_generation_say_nothing() {
    let document = in_phase(&serving(), &request("r", deploy("two")), Phase::Stage);
    let mut told = report(&document, 2, Level::Staged);
    told.accepted.0 -= 1;
    assert_eq!(advance(&document, &all(&document, &told), NOW), Advance::Wait);
}

#[test]
fn a_failure_before_the_decision_ends_and_after_it_takes_back() {
    for (phase, expected) in [
        (Phase::Stage, None),
        (Phase::Start, None),
        (Phase::Switch, Some(Phase::TakeBack)),
        (Phase::Exchange, Some(Phase::TakeBack)),
        (Phase::Watch, Some(Phase::TakeBack)),
    ] {
        let document = in_phase(&serving(), &request("r", deploy("two")), phase);
        let mut told = report(&document, 2, Level::Gone);
        told.releases.get_mut(&ReleaseNumber(2)).expect("2").failure = Some(bad("broken"));
        told.watch = Some(WatchReport {
            operation: document.last_operation,
            outcome: Progress::Failed(bad("broken")),
        });
        let next = advance(&document, &all(&document, &told), NOW);
        assert_eq!(phase_after(&next), expected, "in {phase:?}");
        let Advance::Write(next) = next else { unreachable!() };
        assert_eq!(next.serving, Some(ReleaseNumber(1)), "in {phase:?}");
        assert_eq!(next.validate(), Ok(()));
    }
}

#[test]
fn a_command_whose_files_cannot_be_brought_fails_its_operation() {
    let mut own = config(&["web"]);
    own.release_command = Some("./migrate".to_owned());
    let document = in_phase(&serving(), &request("r", deploy_with("two", own)), Phase::Command);
    let mut told = report(&document, 2, Level::Gone);
    told.releases.get_mut(&ReleaseNumber(2)).expect("2").failure = Some(bad("torn"));
    let next = advance(&document, &all(&document, &told), NOW);
    let Advance::Write(next) = next else { panic!("it waits for ever: {next:?}") };
    assert!(matches!(&next.history[0].outcome, Ended::Failed(why) if why.reason == "torn"));
}

#[test]
fn a_command_stays_recorded_until_its_end_is_reported() {
    let mut own = config(&["web"]);
    own.release_command = Some("./migrate".to_owned());
    let asked = request("r", deploy_with("two", own));
    let staged = in_phase(&serving(), &asked, Phase::Stage);
    let told = report(&staged, 2, Level::Staged);
    let Advance::Write(next) = advance(&staged, &all(&staged, &told), NOW) else {
        panic!("staged");
    };
    let document = stamped(&staged, *next);
    assert!(document.command.is_some());
    // Server `one` has not begun the command yet; server `two` is given up.
    let mut contacts = all(&document, &report(&document, 2, Level::Staged));
    let silent = Contact::Unreachable { for_ms: 60_000, cause: "no answer".to_owned() };
    contacts.insert(name("two"), silent);
    let Advance::Write(next) = advance(&document, &contacts, NOW) else { panic!("given up") };
    assert!(next.operation.is_none());
    assert!(next.command.is_some(), "it may still begin under the order that it has");
}

#[test]
fn a_server_that_was_left_out_and_has_not_followed_is_named() {
    let mut asked = request("r", deploy("two"));
    asked.without.insert(name("two"));
    let document = in_phase(&serving(), &asked, Phase::Watch);
    let mut told = report(&document, 2, Level::Routed);
    let operation = document.last_operation;
    told.watch = Some(WatchReport { operation, outcome: Progress::Done });
    let mut contacts = all(&document, &told);
    let behind = Box::new(report(&document, 1, Level::Routed));
    contacts.insert(name("two"), Contact::Reached(behind));
    let Advance::Write(next) = advance(&document, &contacts, NOW) else { panic!("done") };
    let ended = next.finished(operation).expect("in the history");
    assert_eq!(ended.degraded.iter().collect::<Vec<_>>(), [&name("two")]);
}

#[test]
fn a_server_that_is_known_to_be_behind_is_not_waited_for_at_rest() {
    let mut document = serving();
    let balancer = document.servers.get_mut(&name("one")).expect("one of two");
    balancer.roles.insert("balancer".parse().expect("a role"));
    let mut contacts = all(&document, &report(&document, 1, Level::Routed));
    let lost = Contact::Unreachable { for_ms: 0, cause: "no route".to_owned() };
    contacts.insert(name("two"), lost);
    assert_eq!(advance(&document, &contacts, NOW), Advance::Wait);
    document.behind.insert(name("two"));
    assert_eq!(advance(&document, &contacts, NOW), Advance::Rest);
    // Nor is it forgotten: it has not been asked yet.
    contacts.remove(&name("two"));
    assert_eq!(advance(&document, &contacts, NOW), Advance::Wait);
}

#[test]
fn a_balancer_goes_on_answering_while_no_other_server_can() {
    let mut document = serving();
    let of = |role: &str| BTreeSet::from([role.parse().expect("a role")]);
    document.servers.get_mut(&name("one")).expect("one").roles = of("balancer");
    document.servers.get_mut(&name("two")).expect("two").roles = of("web");
    let balance = |document: &_| order(document, &name("one")).expect("one of two").balance;
    assert_eq!(balance(&document).expect("the other").peers.len(), 1);
    document.behind.insert(name("two"));
    assert_eq!(balance(&document).expect("nobody now").peers.len(), 0);
    // An app of workers alone has no visitors.
    let release = document.releases.get_mut(&ReleaseNumber(1)).expect("one");
    release.config = Arc::new(config(&["worker"]));
    assert_eq!(balance(&document), None);
}

#[test]
fn the_same_request_is_one_operation() {
    let asked = request("r", deploy("two"));
    let document = recorded(&serving(), &asked);
    assert_eq!(submit(&document, &asked, NOW), Submitted::Already(OperationNumber(2)));
}

#[test]
fn what_serves_already_is_no_release() {
    assert_eq!(submit(&serving(), &request("r", deploy("one")), NOW), Submitted::Unchanged);
}

#[test]
fn a_newer_deploy_supersedes_what_is_not_decided_and_waits_for_what_is() {
    for phase in [Phase::Stage, Phase::Command, Phase::Start, Phase::Check] {
        let document = in_phase(&serving(), &request("r", deploy("two")), phase);
        let next = recorded(&document, &request("s", deploy("three")));
        let ended = next.finished(OperationNumber(2)).expect("in the history");
        assert!(matches!(&ended.outcome, Ended::Aborted { reason } if reason.contains('3')));
        assert!(!next.releases.contains_key(&ReleaseNumber(2)));
        assert_eq!(next.serving, Some(ReleaseNumber(1)));
    }
    for phase in [Phase::Switch, Phase::Exchange, Phase::Watch, Phase::TakeBack] {
        let document = in_phase(&serving(), &request("r", deploy("two")), phase);
        let submitted = submit(&document, &request("s", deploy("three")), NOW);
        assert_eq!(submitted, Submitted::Busy(OperationNumber(2)), "{phase:?}");
        let aborted = submit(&document, &request("a", Ask::Abort), NOW);
        let decided = Refusal::AlreadyDecided(OperationNumber(2));
        assert_eq!(aborted, Submitted::Refused(decided), "{phase:?}");
    }
}

#[test]
fn refusals_are_true() {
    let refused = |document: &_, ask| match submit(document, &request("r", ask), NOW) {
        Submitted::Refused(refusal) => refusal,
        other => panic!("it should be refused: {other:?}"),
    };
    assert_eq!(refused(&empty(), Ask::Rollback { to: None }), Refusal::NothingReleased);
    assert_eq!(refused(&serving(), Ask::Rollback { to: None }), Refusal::NoPrevious);
    let unknown = ReleaseNumber(9);
    let named = Ask::Rollback { to: Some(unknown) };
    assert_eq!(refused(&serving(), named), Refusal::UnknownRelease(unknown));
    assert_eq!(refused(&serving(), Ask::Abort), Refusal::NothingInFlight);
}

#[test]
fn an_edit_of_the_demand_becomes_an_operation_once() {
    let mut edited = serving();
    edited.demand.release = None;
    let told = report(&edited, 1, Level::Routed);
    let Advance::Write(next) = advance(&edited, &all(&edited, &told), NOW) else {
        panic!("an edit is followed");
    };
    assert_eq!(next.operation.as_ref().map(|own| own.phase), Some(Phase::Remove));
    assert_eq!((next.serving, next.requests.len()), (None, 2));
    let removed = order(&next, &name("one")).expect("its order");
    assert!(removed.releases.is_empty());
}
