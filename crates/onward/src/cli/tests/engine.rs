//! What the engine refuses, and how operations end.

use jiff::Timestamp;
use onward_core::document::{Document, Ended, Failure, Finished, Kind};
use onward_core::engine::{CannotMove, CannotReplace, Refusal};
use onward_core::model::{Generation, OperationNumber, ReleaseNumber, RequestId, WriteId};
use onward_core::traffic::Proof;

use super::{every, page};
use crate::cli::outcome;

#[test]
fn each_refusal_says_what_to_type() {
    let all = every! { Refusal:
        Refusal::NothingReleased => Refusal::NothingReleased,
        Refusal::NoPrevious => Refusal::NoPrevious,
        Refusal::UnknownRelease(_) => Refusal::UnknownRelease(ReleaseNumber(9)),
        Refusal::NothingInFlight => Refusal::NothingInFlight,
        Refusal::AlreadyDecided(_) => Refusal::AlreadyDecided(OperationNumber(7)),
        Refusal::StalePlan { .. } =>
            Refusal::StalePlan { planned: Generation(4), actual: Generation(6) },
        Refusal::UnknownServer(_) => Refusal::UnknownServer("two".parse().expect("a legal name")),
        Refusal::NoValue(_) => Refusal::NoValue(
            ["SESSION_KEY", "SMTP_PASSWORD"].map(|name| name.parse().expect("a legal name")).into()
        ),
        Refusal::CannotMove(_) => Refusal::CannotMove(CannotMove::SeveralHave {
            role: "web".parse().expect("a legal name"),
            servers: ["one", "two"].map(|name| name.parse().expect("a legal name")).into(),
        }),
        Refusal::CannotReplace(_) => Refusal::CannotReplace(CannotReplace::OnlyServer(
            "two".parse().expect("a legal name")
        )),
        Refusal::UnknownProcess { .. } => Refusal::UnknownProcess {
            process: "wrker".parse().expect("a legal name"),
            known: vec!["web".to_owned(), "worker".to_owned()],
        },
        Refusal::TooFew { .. } => Refusal::TooFew {
            process: "web".parse().expect("a legal name"), count: 0, least: 1,
        },
        Refusal::TooMany { .. } => Refusal::TooMany {
            process: "web".parse().expect("a legal name"), count: 999,
        },
    };
    insta::assert_snapshot!(page(all));
}

fn document() -> Document {
    let (app, environment) = ("shop".parse(), "local".parse());
    let (app, environment) = (app.expect("a legal name"), environment.expect("a legal name"));
    Document::first(app, environment, WriteId::new("1"), Timestamp::UNIX_EPOCH)
}

fn finished(kind: Kind, outcome: Ended) -> Finished {
    Finished {
        number: OperationNumber(3),
        request: RequestId::new("r"),
        kind,
        release: Some(ReleaseNumber(2)),
        label: Some("3f2a9c1".to_owned()),
        previous: None,
        outcome,
        degraded: std::collections::BTreeSet::new(),
        abandoned: std::collections::BTreeSet::new(),
        by: "ana".to_owned(),
        started: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
        proof: None,
    }
}

#[test]
fn each_end_of_an_operation_has_a_true_last_line() {
    let failure = Failure {
        server: Some("local".parse().expect("a legal name")),
        reason: "web exited with status 1 before it was ready".to_owned(),
        answer: None,
        lines: vec!["cannot open the database".to_owned()],
    };
    let all = every! { Ended:
        Ended::Done => Ended::Done,
        Ended::Failed(_) => Ended::Failed(failure),
        Ended::Aborted { .. } => Ended::Aborted { reason: "superseded by operation 4".to_owned() },
    };
    let complaints = all.into_iter().map(|(name, outcome)| {
        (name, outcome::not_done(&document(), &finished(Kind::Deploy, outcome), None))
    });
    insta::assert_snapshot!(page(complaints.collect::<Vec<_>>()));
}

#[test]
fn the_proof_tells_only_what_was_measured() {
    let proof = |requests, before, during, incomplete| Proof {
        requests,
        lost: 0,
        app_errors: 0,
        p99_before_us: before,
        p99_us: during,
        incomplete,
    };
    let texts = [
        proof(1, Some(900), Some(100), false),
        proof(12_431, Some(900), Some(2_900), false),
        proof(12_431, None, Some(2_900), false),
        proof(12_431, Some(2_900), Some(900), true),
    ]
    .map(|proof| outcome::proof_text(&proof));
    insta::assert_snapshot!(texts.join("\n"));
}
