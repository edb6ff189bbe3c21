//! What the commands themselves find wrong.

use std::io;
use std::path::PathBuf;

use onward_core::document::{Failure, InvalidDocument};
use onward_core::model::{Generation, OperationNumber, ReleaseNumber};

use super::{every, page};
use crate::cli::exit::Exit;
use crate::cli::problem::Problem;

fn kept() -> PathBuf {
    PathBuf::from("/shop/.onward/edit-1.json")
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(13)
}

fn syntax() -> InvalidDocument {
    InvalidDocument::Syntax { line: 3, column: 12, reason: "expected value".to_owned() }
}

fn place() -> Vec<String> {
    vec!["3 |   \"app\":  shop".to_owned(), "  |           ^".to_owned()]
}

fn failure() -> Failure {
    Failure {
        server: None,
        reason: "web exited with status 1 before it was ready".to_owned(),
        answer: Some("GET /up: 500".to_owned()),
        lines: vec!["cannot open the database".to_owned()],
    }
}

/// One of each.
fn all() -> Vec<(&'static str, Problem)> {
    let local = || "local".parse().expect("a legal name");
    every! { Problem:
        Problem::OtherOwner { .. } => Problem::OtherOwner {
            app: "shop".parse().expect("a legal name"), environment: local(),
            owner: PathBuf::from("/home/ana/shop"),
        },
        Problem::Taken { .. } => Problem::Taken {
            what: "shop.example.com/admin".to_owned(), owner: "admin/production".to_owned(),
        },
        Problem::IsDown { .. } => Problem::IsDown { environment: local() },
        Problem::NoRelease { .. } =>
            Problem::NoRelease { number: ReleaseNumber(9), last: ReleaseNumber(4) },
        Problem::NoProcess { .. } => Problem::NoProcess {
            name: "wrker".parse().expect("a legal name"), names: "web, worker".to_owned(),
        },
        Problem::NoServer { .. } => Problem::NoServer {
            name: "too".parse().expect("a legal name"), names: "one, two".to_owned(),
        },
        Problem::OnlyServer(_) => Problem::OnlyServer("local".parse().expect("a legal name")),
        Problem::NoGeneration(_) => Problem::NoGeneration(Generation(99)),
        Problem::EditNeedsEditor => Problem::EditNeedsEditor,
        Problem::EditorFailed { .. } => Problem::EditorFailed {
            editor: "vi".to_owned(), status: "status 1".to_owned(), kept: kept(),
        },
        Problem::EditInvalid { .. } =>
            Problem::EditInvalid { reason: syntax(), place: place(), kept: kept() },
        Problem::EditConflict { .. } => Problem::EditConflict { kept: kept() },
        Problem::Conflict => Problem::Conflict,
        Problem::WriteUnknown(_) => Problem::WriteUnknown("Input/output error".to_owned()),
        Problem::UndoGone { .. } =>
            Problem::UndoGone { generation: Generation(12), release: ReleaseNumber(2) },
        Problem::NothingToUndo => Problem::NothingToUndo,
        Problem::NothingToAccept => Problem::NothingToAccept,
        Problem::AcceptMissing => Problem::AcceptMissing,
        Problem::AcceptInvalid { .. } => Problem::AcceptInvalid { reason: syntax(), place: place() },
        Problem::AcceptNeedsYes => Problem::AcceptNeedsYes,
        Problem::DownNeedsName(_) => Problem::DownNeedsName(local()),
        Problem::OtherName { .. } => Problem::OtherName {
            environment: local(), given: "production".parse().expect("a legal name"),
        },
        Problem::NameNotTyped(_) => Problem::NameNotTyped(local()),
        Problem::NoFormat(_) => Problem::NoFormat(PathBuf::from("shop.rar")),
        Problem::BundlesDamaged(_) => Problem::BundlesDamaged(2),
        Problem::StepFailed { .. } => Problem::StepFailed {
            step: "build", how: "status 2".to_owned(), command: "npm run build".to_owned(),
            lines: vec!["src/app.ts:3: unexpected token".to_owned()],
        },
        Problem::StepLost { .. } => Problem::StepLost { step: "test", source: denied() },
        Problem::Interrupted { .. } => Problem::Interrupted { during: Some("build") },
        Problem::InterruptedDecided(_) => Problem::InterruptedDecided(OperationNumber(7)),
        Problem::InterruptedCarrying(_) => Problem::InterruptedCarrying(OperationNumber(7)),
        Problem::InterruptedManaged(_) => Problem::InterruptedManaged(OperationNumber(7)),
        Problem::NoTrace(_) => Problem::NoTrace(OperationNumber(7)),
        Problem::StateRemoved => Problem::StateRemoved,
        Problem::AbortTooLate(_) => Problem::AbortTooLate(OperationNumber(7)),
        Problem::DoesNotServe { .. } =>
            Problem::DoesNotServe { number: ReleaseNumber(3), failure: failure() },
        Problem::HookFailed { .. } => Problem::HookFailed {
            hook: "before_switch", how: "status 2".to_owned(), command: "./announce".to_owned(),
            lines: vec!["nobody listens".to_owned()],
        },
        Problem::NoTask { .. } => Problem::NoTask {
            name: "reindex".parse().unwrap(), names: "seed".to_owned(), in_file: true,
        },
        Problem::NoLogs(_) => Problem::NoLogs("the agent did not answer".to_owned()),
        Problem::NoCloud(_) => Problem::NoCloud("s3://bucket/state".to_owned()),
        Problem::System { .. } =>
            Problem::System { path: PathBuf::from("/shop/.onward"), source: denied() },
        Problem::Bug(_) => Problem::Bug("a verb without a project came here"),
    }
}

#[test]
fn each_problem_says_what_where_and_what_to_type() {
    insta::assert_snapshot!(page(all()));
}

#[test]
fn a_step_whose_output_was_shown_is_not_told_twice() {
    let problem = Problem::StepFailed {
        step: "test",
        how: "status 2".to_owned(),
        command: "npm test".to_owned(),
        lines: Vec::new(),
    };
    insta::assert_snapshot!(page(vec![("shown before", problem)]));
}

#[test]
fn exit_codes_are_a_contract_with_scripts() {
    let table: Vec<String> = all()
        .iter()
        .map(|(name, problem)| format!("{:>3}  {name}", problem.exit().code()))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
    let codes = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Refused,
        Exit::Continues,
        Exit::Changes,
        Exit::Program(7),
        Exit::Bug,
    ];
    assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4, 5, 7, 255]);
}
