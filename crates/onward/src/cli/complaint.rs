//! Errors for people: what failed, where, what still serves, what to type next.

use std::collections::BTreeSet;

use onward_core::document::Failure;
use onward_core::engine::{CannotMove, CannotReplace, Refusal};
use onward_core::model::EnvironmentName;
use onward_core::ports::StoreError;
use onward_core::secrets::SecretName;
use onward_server::client::ClientError;
use onward_store::bundle;
use serde_json::{Value, json};

use super::exit::Exit;
use super::problem::Problem;
use crate::project::init::CannotTell;
use crate::project::{Findings, LoadError, UnknownEnvironment};

/// An error as it is shown.
///
/// ```text
/// Error: WHAT
///   FACT
///   LAST LINES TITLE
///     | line
/// Hint: what to type next
/// WHAT SERVES NOW
/// ```
#[derive(Debug, Clone)]
pub struct Complaint {
    /// How the command ends.
    pub exit: Exit,
    /// What failed, as a sentence without its full stop.
    pub what: String,
    /// What else is known, one line each.
    pub facts: Vec<String>,
    /// The last lines that something printed, with their title.
    pub lines: Option<(String, Vec<String>)>,
    /// What to type next.
    pub hints: Vec<String>,
    /// What serves now: the last line.
    pub serving: Option<String>,
    /// Findings in the project file, shown instead of `what`.
    pub findings: Option<Box<Findings>>,
}

impl Complaint {
    /// A complaint with nothing but its sentence.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            facts: Vec::new(),
            lines: None,
            hints: Vec::new(),
            serving: None,
            findings: None,
        }
    }

    /// The same with one more fact.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// The same with a last line that says what serves now.
    #[must_use]
    pub fn serving(mut self, text: impl Into<String>) -> Self {
        self.serving = Some(text.into());
        self
    }

    /// The same with the fact that nothing has changed.
    #[must_use]
    pub fn nothing_changed(self) -> Self {
        self.fact("Nothing was changed")
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with the last lines that something printed.
    #[must_use]
    pub fn printed(mut self, lines: Vec<String>) -> Self {
        if !lines.is_empty() {
            self.lines = Some(("Last lines it printed:".to_owned(), lines));
        }
        self
    }

    /// The same with a drawing of the place.
    #[must_use]
    pub fn drawn(mut self, place: Vec<String>) -> Self {
        if !place.is_empty() {
            self.lines = Some(("Here:".to_owned(), place));
        }
        self
    }

    /// The same with the probe's last answer and the last lines of what failed.
    #[must_use]
    pub fn seen(mut self, failure: &Failure) -> Self {
        if let Some(answer) = &failure.answer {
            self.facts.push(format!("Last answer of the probe: {answer}"));
        }
        self.printed(failure.lines.clone())
    }

    /// The text for the terminal, without colours.
    pub fn text(&self) -> String {
        let mut text = format!("Error: {}\n", self.what);
        for fact in &self.facts {
            text.push_str(&format!("  {fact}\n"));
        }
        if let Some((title, lines)) = &self.lines {
            text.push_str(&format!("  {title}\n"));
            for line in lines {
                text.push_str(&format!("    | {line}\n"));
            }
        }
        for hint in &self.hints {
            text.push_str(&format!("Hint: {hint}\n"));
        }
        if let Some(serving) = &self.serving {
            text.push_str(&format!("{serving}\n"));
        }
        text
    }

    /// The fields for `--json`.
    pub fn json(&self) -> Value {
        let lines = self.lines.as_ref().map(|(_, lines)| lines.clone()).unwrap_or_default();
        let mut value = json!({
            "error": self.what,
            "facts": self.facts.iter().chain(&self.serving).collect::<Vec<_>>(),
            "lines": lines,
            "hints": self.hints,
            "exit": self.exit.code(),
        });
        if let Some(findings) = &self.findings {
            value["findings"] = findings.to_json();
        }
        value
    }
}

impl From<LoadError> for Complaint {
    fn from(error: LoadError) -> Self {
        let complaint = Self::new(Exit::Usage, error.to_string()).hint(error.help());
        match error {
            LoadError::Invalid(findings) => {
                Self { findings: Some(Box::new(findings)), ..complaint }
            }
            _ => complaint,
        }
    }
}

impl From<CannotTell> for Complaint {
    fn from(error: CannotTell) -> Self {
        let exit = match error {
            CannotTell::NoDirectory { .. } => Exit::Usage,
            CannotTell::Unreadable { .. } => Exit::Failed,
            CannotTell::AlreadyThere { .. }
            | CannotTell::Nothing { .. }
            | CannotTell::Unclear { .. }
            | CannotTell::Malformed { .. } => Exit::Refused,
        };
        Self::new(exit, error.to_string()).hint(error.help())
    }
}

impl From<UnknownEnvironment> for Complaint {
    fn from(error: UnknownEnvironment) -> Self {
        Self::new(Exit::Usage, error.to_string()).hint(error.help())
    }
}

impl From<Refusal> for Complaint {
    fn from(refusal: Refusal) -> Self {
        let hint = match &refusal {
            Refusal::NothingReleased => "`onward up` makes the first release",
            Refusal::NoPrevious | Refusal::UnknownRelease(_) => {
                "`onward history` lists the releases that can run"
            }
            Refusal::NothingInFlight => "`onward status` shows what runs now",
            Refusal::AlreadyDecided(_) => "`onward rollback` goes back when it has ended",
            Refusal::StalePlan { .. } => "`onward plan` makes a new one",
            Refusal::UnknownServer(_) => "`onward status` lists the servers",
            Refusal::NoValue(names) => return no_value(names, None),
            Refusal::CannotMove(CannotMove::SeveralHave { .. }) => {
                "`--from SERVER` says which of them loses it"
            }
            Refusal::CannotMove(_) => "`onward status` shows the servers and their roles",
            Refusal::CannotReplace(reason) => return cannot_replace(reason),
            Refusal::UnknownProcess { .. } => "`onward status` lists the processes",
            Refusal::TooFew { .. } => "`onward down` takes everything away",
            Refusal::TooMany { .. } => "run them in several environments",
        };
        Self::new(Exit::Refused, refusal.to_string()).hint(hint)
    }
}

/// A machine that cannot take the place of another one.
fn cannot_replace(reason: &CannotReplace) -> Complaint {
    let complaint = Complaint::new(Exit::Refused, reason.to_string());
    match reason {
        CannotReplace::OnlyServer(_) => complaint.nothing_changed().hint(
            "add another server to onward.toml first; `onward down` and `onward up` begin anew \
             with one",
        ),
        CannotReplace::NotBegun(name) => {
            complaint.nothing_changed().hint(format!("`onward replace {name}` begins"))
        }
        CannotReplace::SameMachine(name) => complaint
            .fact("The others serve without it")
            .hint(format!(
                "write the `address` of the new machine, or its new `host_key`, to {name} in \
                 onward.toml; then `onward replace {name}` goes on"
            ))
            .hint(format!("take {name} out of onward.toml to go on without it")),
    }
}

/// Secrets without a value, and the command that gives them one.
pub fn no_value(names: &BTreeSet<SecretName>, environment: Option<&EnvironmentName>) -> Complaint {
    let all = names.iter().map(SecretName::as_str).collect::<Vec<_>>().join(" ");
    let environment = environment.map_or_else(String::new, |name| format!("-e {name} "));
    Complaint::new(Exit::Refused, Refusal::NoValue(names.clone()).to_string())
        .fact("`[secrets]` in onward.toml says that the app needs it")
        .nothing_changed()
        .hint(format!("`onward {environment}secret set {all}` asks for what is missing"))
}

impl From<StoreError> for Complaint {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::NoSpace { .. } => Self::new(Exit::Failed, what)
                .nothing_changed()
                .hint("free some disk space and repeat the command"),
            StoreError::Unavailable { .. } => Self::new(Exit::Failed, what)
                .hint("can you read and write it? Then repeat the command"),
            StoreError::Invalid { .. } => Self::new(Exit::Refused, what)
                .hint("`onward state log` lists the generations that can be read"),
            StoreError::Damaged { place, reason, last_good } => Self::new(
                Exit::Refused,
                format!("the state file is not what onward wrote: {reason}"),
            )
            .fact(format!("It is {place}"))
            .fact(format!("Generation {last_good} stays in force; what it runs goes on"))
            .hint("`onward state diff` shows the difference")
            .hint(format!(
                "`onward state undo` puts generation {last_good} back, `onward state \
                         accept` takes the file as it is when it is valid"
            )),
            StoreError::Moved { to, .. } => moved(&to),
            StoreError::Arriving { from, .. } => Self::new(Exit::Refused, what)
                .fact(format!("Until the move has ended the state is in {from}"))
                .hint("repeat the `onward state move` that was interrupted"),
            StoreError::Unfit { .. } => Self::new(Exit::Refused, what)
                .nothing_changed()
                .hint("keep the state in another store; docs/guide/state-in-a-bucket.md says what one has to promise"),
        }
    }
}

/// The complaint about a place that was closed by a move.
fn moved(to: &str) -> Complaint {
    let complaint =
        Complaint::new(Exit::Refused, format!("the state of this environment was moved to {to}"))
            .fact("What is here is closed, so that there are never two truths");
    if to.contains("://") {
        complaint.hint(format!("write `store = \"{to}\"` below `[environment.NAME]`"))
    } else {
        complaint.hint(format!(
            "the project whose `.onward/state` is {to} has it; there `onward state move` takes it \
             to a store that others reach"
        ))
    }
}

impl From<bundle::Error> for Complaint {
    fn from(error: bundle::Error) -> Self {
        use std::error::Error as _;
        let mut what = error.to_string();
        if let Some(source) = error.source() {
            what.push_str(&format!(": {source}"));
        }
        let (exit, hint) = bundle_meaning(&error);
        let complaint = Self::new(exit, what).hint(hint);
        match exit {
            Exit::Failed => complaint.nothing_changed(),
            _ => complaint,
        }
    }
}

/// How a command ends after an error of bundles, and what to type next.
const fn bundle_meaning(error: &bundle::Error) -> (Exit, &'static str) {
    use bundle::Error;
    match error {
        Error::NoSpace { .. } => (Exit::Failed, "free some disk space and repeat the command"),
        Error::Io { .. } => (Exit::Failed, "is it there, and can you read and write it?"),
        Error::Changed(_) => {
            (Exit::Failed, "repeat the command when nothing writes to the project any more")
        }
        Error::Git { .. } => (
            Exit::Failed,
            "`--git REF` needs a Git repository; without it the directory is released",
        ),
        Error::Damaged { .. } | Error::Incomplete { .. } => (
            Exit::Failed,
            "`onward bundle verify` says which bundles are damaged; `onward bundle build` writes \
             the one of this tree again",
        ),
        Error::Mismatch(_) | Error::DestinationDiffers { .. } => {
            (Exit::Failed, "somebody changed it; move it away and repeat the command")
        }
        Error::NoBundle(_) | Error::NoSuchName(_) | Error::AmbiguousName(_) => {
            (Exit::Usage, "`onward bundle list` shows what there is")
        }
        Error::NoInclude { .. } => {
            (Exit::Usage, "does `[build] run` make it? Otherwise correct `[bundle] include`")
        }
        Error::Unfit { .. } => (Exit::Usage, "rename it, or name it in .onwardignore"),
        Error::Refused { .. } => {
            (Exit::Usage, "nothing of it was unpacked; make the archive again without that entry")
        }
        Error::NotAnArchive { .. } => {
            (Exit::Usage, "archives are .tar, .tar.gz, .tar.bz2, .tar.zst and .zip")
        }
        Error::NoSuchCommit { .. } => {
            (Exit::Usage, "`git log --oneline` shows the commits, `git branch -a` the branches")
        }
        Error::BadLabel(_) => (Exit::Usage, "give another label, or none"),
        Error::LabelTaken { .. } => (Exit::Refused, "give another label, or none"),
        Error::Exists(_) => (Exit::Refused, "give another name, or move it away"),
    }
}

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Self {
        Problem::NoLogs(error.to_string()).into()
    }
}

/// The complaint about a failure of the system under `path`.
pub fn system(path: &std::path::Path, source: std::io::Error) -> Complaint {
    Problem::System { path: path.to_owned(), source }.into()
}
