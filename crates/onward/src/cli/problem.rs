//! What a command itself finds wrong: every meaning, with its exit code and what to type next.
//!
//! Errors of the parts below (store, bundles, agent, project file, engine) keep their own types;
//! [`super::complaint`] turns each of them into what a person reads.

use std::io;
use std::path::PathBuf;

use onward_core::document::{Failure, InvalidDocument};
use onward_core::model::{
    AppName, EnvironmentName, Generation, OperationNumber, ProcessName, ReleaseNumber, ServerName,
};

use super::complaint::Complaint;
use super::exit::Exit;

/// What a command found.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Another project has this app and environment in a home that both use.
    #[error("{app}/{environment} of this home belongs to the project in {}", owner.display())]
    OtherOwner {
        /// The app.
        app: AppName,
        /// The environment.
        environment: EnvironmentName,
        /// Where the other project is.
        owner: PathBuf,
    },
    /// Another environment answers to the same name and path.
    #[error("{what} is taken by {owner} on this server")]
    Taken {
        /// Host and path.
        what: String,
        /// The app and environment.
        owner: String,
    },
    /// Nothing runs, and the command needs something that does.
    #[error("{environment} is down: nothing runs there")]
    IsDown {
        /// The environment.
        environment: EnvironmentName,
    },
    /// A release that was never made.
    #[error("there is no release {number}; the last one is {last}")]
    NoRelease {
        /// What was asked for.
        number: ReleaseNumber,
        /// The highest number given.
        last: ReleaseNumber,
    },
    /// A process that no release has.
    #[error("no release has a process `{name}`; there is {names}")]
    NoProcess {
        /// What was asked for.
        name: ProcessName,
        /// Those that there are.
        names: String,
    },
    /// A task that the release that serves does not have.
    #[error("the release that serves has no task `{name}`{}", others(names))]
    NoTask {
        /// What was asked for.
        name: ProcessName,
        /// Those that there are.
        names: String,
        /// Whether the project file has it.
        in_file: bool,
    },
    /// A server that the environment does not have.
    #[error("there is no server `{name}`; there is {names}")]
    NoServer {
        /// What was asked for.
        name: ServerName,
        /// Those that there are.
        names: String,
    },
    /// Every server is left out.
    #[error("`{0}` is the only server: without it nothing is left")]
    OnlyServer(ServerName),
    /// A generation that was never written.
    #[error("there is no generation {0}")]
    NoGeneration(Generation),
    /// Nobody can edit.
    #[error("editing needs a person and an editor")]
    EditNeedsEditor,
    /// The editor did not end well.
    #[error("the editor `{editor}` ended with {status}; nothing was changed")]
    EditorFailed {
        /// Its command.
        editor: String,
        /// How it ended.
        status: String,
        /// Where the text is.
        kept: PathBuf,
    },
    /// The edited text is no document.
    #[error("the edited state cannot be taken: {reason}")]
    EditInvalid {
        /// Why.
        reason: InvalidDocument,
        /// The line with a caret below it, when there is a place.
        place: Vec<String>,
        /// Where the text is.
        kept: PathBuf,
    },
    /// The state changed while the person edited.
    #[error("the state was changed while you edited it, so your edit was not taken")]
    EditConflict {
        /// Where the text is.
        kept: PathBuf,
    },
    /// The state changed between reading and writing.
    #[error("the state was changed meanwhile, so nothing was written")]
    Conflict,
    /// The answer to a write was lost.
    #[error("it is not known whether the state was written: {0}")]
    WriteUnknown(String),
    /// An undo to a release that is gone.
    #[error("generation {generation} demands release {release}, which can no longer run")]
    UndoGone {
        /// The generation.
        generation: Generation,
        /// Its release.
        release: ReleaseNumber,
    },
    /// No earlier demand.
    #[error("there is nothing to undo: the demand was never another")]
    NothingToUndo,
    /// `accept` without a damaged file.
    #[error("there is nothing to accept: the state file is what onward wrote")]
    NothingToAccept,
    /// `accept` of a file that is not there.
    #[error("the state file is missing, so there is nothing to accept")]
    AcceptMissing,
    /// `accept` of a file that is no document.
    #[error("the state file cannot be taken: {reason}")]
    AcceptInvalid {
        /// Why.
        reason: InvalidDocument,
        /// The line with a caret below it, when there is a place.
        place: Vec<String>,
    },
    /// `accept` without a yes.
    #[error("taking this difference needs a yes")]
    AcceptNeedsYes,
    /// `down` without the name.
    #[error("taking {0} away needs a yes")]
    DownNeedsName(EnvironmentName),
    /// `down --confirm` with another name.
    #[error("the environment is {environment}, and {given} was confirmed; nothing was changed")]
    OtherName {
        /// The environment.
        environment: EnvironmentName,
        /// What was given.
        given: EnvironmentName,
    },
    /// The person typed something else.
    #[error("the name was not typed; nothing was changed")]
    NameNotTyped(EnvironmentName),
    /// An export whose name says no format.
    #[error("`{}` does not say which format to write", .0.display())]
    NoFormat(PathBuf),
    /// Bundles that are not what was stored.
    #[error("{} damaged", super::numbers::count(*.0, "bundle"))]
    BundlesDamaged(u64),
    /// A command of the project failed.
    #[error("the {step} ended with {how}: {command}")]
    StepFailed {
        /// `build` or `test`.
        step: &'static str,
        /// Its exit status in words.
        how: String,
        /// What ran.
        command: String,
        /// Its last lines, when they were not shown as they came.
        lines: Vec<String>,
    },
    /// A hook failed.
    #[error("the hook `{hook}` ended with {how}: {command}")]
    HookFailed {
        /// Its key.
        hook: &'static str,
        /// How it ended.
        how: String,
        /// What ran.
        command: String,
        /// Its last lines, when they were not shown as they came.
        lines: Vec<String>,
    },
    /// A command of the project could not be run.
    #[error("the {step} cannot be run: {source}")]
    StepLost {
        /// `build` or `test`.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Ctrl-C while nothing was recorded.
    #[error("interrupted{}", during.map(|step| format!(" during the {step}")).unwrap_or_default())]
    Interrupted {
        /// What was on its way: `build`, `test`.
        during: Option<&'static str>,
    },
    /// Ctrl-C after the decision.
    #[error("interrupted: operation {0} is decided and goes forward")]
    InterruptedDecided(OperationNumber),
    /// Ctrl-C while an operation was carried on that somebody else recorded.
    #[error("interrupted: operation {0} is left as it is")]
    InterruptedCarrying(OperationNumber),
    /// Ctrl-C while something is in flight that the manager goes on with.
    #[error("interrupted: operation {0} goes on, carried by the manager")]
    InterruptedManaged(OperationNumber),
    /// An operation without a trace.
    #[error("operation {0} left no trace in the history")]
    NoTrace(OperationNumber),
    /// Somebody removed the state.
    #[error("the state was removed while the command ran")]
    StateRemoved,
    /// The operation ended first.
    #[error("operation {0} ended before it could be aborted")]
    AbortTooLate(OperationNumber),
    /// What shall serve does not.
    #[error("release {number} shall serve and does not: {}", failure.reason)]
    DoesNotServe {
        /// The release.
        number: ReleaseNumber,
        /// What was last seen of it.
        failure: Failure,
    },
    /// The agent gave no lines.
    #[error("the logs cannot be read: {0}")]
    NoLogs(String),
    /// A store in a cloud, and a build without.
    #[error("the state is in {0}, and this build of onward has no cloud stores")]
    NoCloud(String),
    /// The system refused something.
    #[error("{}: {source}", path.display())]
    System {
        /// On what.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// An invariant of onward does not hold.
    #[error("this is a bug of onward: {0}")]
    Bug(&'static str),
}

/// What there is instead, when there is something.
fn others(names: &str) -> String {
    if names.is_empty() { String::new() } else { format!("; there is {names}") }
}

impl Problem {
    /// The problem with a server that is not among `names`.
    pub fn no_server(name: &ServerName, names: &[&ServerName]) -> Self {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self::NoServer { name: name.clone(), names }
    }

    /// How the command ends.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::NoRelease { .. }
            | Self::NoProcess { .. }
            | Self::NoTask { .. }
            | Self::NoServer { .. }
            | Self::OnlyServer(_)
            | Self::NoGeneration(_)
            | Self::EditInvalid { .. }
            | Self::AcceptInvalid { .. }
            | Self::NoCloud(_)
            | Self::NoFormat(_) => Exit::Usage,
            Self::OtherOwner { .. }
            | Self::Taken { .. }
            | Self::IsDown { .. }
            | Self::EditNeedsEditor
            | Self::EditConflict { .. }
            | Self::Conflict
            | Self::UndoGone { .. }
            | Self::NothingToUndo
            | Self::NothingToAccept
            | Self::AcceptMissing
            | Self::AcceptNeedsYes
            | Self::DownNeedsName(_)
            | Self::OtherName { .. }
            | Self::NameNotTyped(_)
            | Self::AbortTooLate(_) => Exit::Refused,
            Self::EditorFailed { .. }
            | Self::WriteUnknown(_)
            | Self::BundlesDamaged(_)
            | Self::StepFailed { .. }
            | Self::HookFailed { .. }
            | Self::StepLost { .. }
            | Self::Interrupted { .. }
            | Self::StateRemoved
            | Self::DoesNotServe { .. }
            | Self::NoLogs(_)
            | Self::System { .. } => Exit::Failed,
            Self::InterruptedDecided(_)
            | Self::InterruptedCarrying(_)
            | Self::InterruptedManaged(_) => Exit::Continues,
            Self::NoTrace(_) | Self::Bug(_) => Exit::Bug,
        }
    }

    /// What to type next.
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::IsDown { .. } => "`onward up` brings it back",
            Self::OtherOwner { owner, .. } => return Some(of_other_owner(owner)),
            Self::Taken { .. } => {
                "give this environment another `domain` or `path`, or take the other one down"
            }
            Self::NoRelease { .. } | Self::UndoGone { .. } => "`onward history` lists the releases",
            Self::NoTask { in_file: true, .. } => "`onward deploy` brings it",
            Self::NoTask { .. } => "`onward task` lists them",
            Self::NoGeneration(_) | Self::NothingToUndo => {
                "`onward state log` lists the generations"
            }
            Self::NoCloud(_) => {
                "`cargo install --locked --path crates/onward --features cloud` in onward's own \
                 repository makes one that has them"
            }
            Self::EditNeedsEditor => {
                "run it in a terminal without --json and --no-input, or edit state.json yourself \
                 and raise its `generation` by one"
            }
            Self::EditorFailed { .. } => "VISUAL or EDITOR names another editor",
            Self::EditInvalid { .. } => "`onward state edit` begins again from the current state",
            Self::EditConflict { .. } => {
                "`onward state edit` begins again from the state as it is now"
            }
            Self::Conflict => "`onward state show` shows it as it is now; repeat the command",
            Self::WriteUnknown(_) => "`onward state log` shows whether it was",
            Self::NothingToAccept => "`onward state edit` changes the state",
            Self::AcceptMissing | Self::AcceptInvalid { .. } => {
                "`onward state undo` puts the last good generation back"
            }
            Self::AcceptNeedsYes => {
                "`onward state accept -y` takes it, `onward state undo` puts the last good \
                 generation back"
            }
            Self::DownNeedsName(name)
            | Self::OtherName { environment: name, .. }
            | Self::NameNotTyped(name) => {
                return Some(format!("`onward down --confirm {name}` does not ask"));
            }
            Self::NoFormat(_) => "end the name with .tar, .tar.gz, .tar.bz2, .tar.zst or .zip",
            Self::BundlesDamaged(_) => "`onward bundle build` writes what is missing of this tree",
            Self::StepFailed { command, lines, .. } if !lines.is_empty() => {
                return Some(format!("run it yourself to see all: {command}"));
            }
            Self::StepFailed { step, .. } => {
                return Some(format!("correct what the {step} says above, and repeat the command"));
            }
            Self::HookFailed { .. } => "`[hooks]` in onward.toml says what runs when",
            Self::StepLost { .. } => "`onward` runs the commands of `[build]` with `sh -c`",
            Self::InterruptedDecided(_) | Self::InterruptedCarrying(_) => {
                "`onward status` shows how far it is; the next command carries it on"
            }
            Self::InterruptedManaged(_) => "`onward status` shows how far it is",
            Self::StateRemoved => "`onward up` begins anew, or says what brings the state back",
            Self::AbortTooLate(_) | Self::NoTrace(_) => "`onward history` shows how it ended",
            Self::DoesNotServe { .. } => {
                "`onward logs` shows what it prints; it is started again and again meanwhile"
            }
            Self::NoLogs(_) => "`onward status` starts the agent again",
            Self::Bug(_) => "repeat the command; if it happens again, please report it",
            Self::System { .. } => "is it there, and can you read and write it?",
            Self::NoServer { .. } => "`onward status` shows the servers",
            Self::OnlyServer(_) => "leave `--without` out",
            Self::Interrupted { .. } | Self::NoProcess { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// Whether it is certain that nothing was changed.
    const fn changed_nothing(&self) -> bool {
        matches!(self, Self::StepFailed { .. } | Self::StepLost { .. } | Self::Interrupted { .. })
    }

    /// Where the person's own text is.
    const fn kept(&self) -> Option<&PathBuf> {
        match self {
            Self::EditorFailed { kept, .. }
            | Self::EditInvalid { kept, .. }
            | Self::EditConflict { kept } => Some(kept),
            _ => None,
        }
    }
}

fn of_other_owner(owner: &std::path::Path) -> String {
    format!(
        "`onward -C {}` works on that one; give this one another `app`, or another home with \
         `--home DIR`",
        owner.display()
    )
}

impl From<Problem> for Complaint {
    fn from(problem: Problem) -> Self {
        let mut complaint = Self::new(problem.exit(), problem.to_string());
        if problem.changed_nothing() {
            complaint = complaint.nothing_changed();
        }
        if let Some(kept) = problem.kept() {
            complaint = complaint.fact(format!("Your text is kept in {}", kept.display()));
        }
        if let Some(hint) = problem.hint() {
            complaint = complaint.hint(hint);
        }
        match problem {
            Problem::EditInvalid { place, .. } | Problem::AcceptInvalid { place, .. } => {
                complaint.drawn(place)
            }
            Problem::StepFailed { lines, .. } | Problem::HookFailed { lines, .. } => {
                complaint.printed(lines)
            }
            Problem::DoesNotServe { failure, .. } => complaint.seen(&failure),
            Problem::BundlesDamaged(_) => {
                complaint.fact("What runs was copied from them and verified then; it goes on")
            }
            _ => complaint,
        }
    }
}
