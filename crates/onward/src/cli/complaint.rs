//! Errors for people: what failed, where, what still serves, what to type next.

use onward_core::document::Failure;
use onward_core::ports::StoreError;
use onward_store::bundle;
use serde_json::{Value, json};

use super::exit::Exit;
use crate::project::{Findings, LoadError};

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

    /// The same whose last line says that nothing has changed.
    #[must_use]
    pub fn nothing_changed(self) -> Self {
        self.serving("Nothing was changed; what served before serves")
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with the probe's last answer and the last lines of what failed.
    #[must_use]
    pub fn seen(mut self, failure: &Failure) -> Self {
        if let Some(answer) = &failure.answer {
            self.facts.push(format!("Last answer of the probe: {answer}"));
        }
        if !failure.lines.is_empty() {
            self.lines = Some(("Last lines it printed:".to_owned(), failure.lines.clone()));
        }
        self
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

impl From<StoreError> for Complaint {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::NoSpace { .. } => Self::new(Exit::Failed, what)
                .nothing_changed()
                .hint("free some disk space and repeat the command"),
            StoreError::Unavailable { .. } => Self::new(Exit::Failed, what)
                .serving("What served before serves"),
            StoreError::Invalid { .. } => Self::new(Exit::Refused, what)
                .hint("`onward state log` lists the generations that can be read"),
            StoreError::Damaged { last_good, .. } => {
                Self::new(Exit::Refused, format!("The state file is not what onward wrote: {what}"))
                    .fact(format!("Generation {last_good} stays in force; what it runs goes on"))
                    .hint("`onward state diff` shows the difference")
                    .hint("`onward state accept` takes the file as it is, `onward state undo` puts the last good generation back")
            }
        }
    }
}

impl From<bundle::Error> for Complaint {
    fn from(error: bundle::Error) -> Self {
        use std::error::Error as _;
        let mut what = error.to_string();
        if let Some(source) = error.source() {
            what.push_str(&format!(": {source}"));
        }
        match error {
            bundle::Error::NoSpace { .. } => Self::new(Exit::Failed, what)
                .nothing_changed()
                .hint("free some disk space and repeat the command"),
            bundle::Error::Changed(_) => Self::new(Exit::Failed, what)
                .hint("repeat the command when nothing writes to the project any more"),
            bundle::Error::LabelTaken { .. } => {
                Self::new(Exit::Refused, what).hint("give another label, or none")
            }
            bundle::Error::NoSuchName(_) | bundle::Error::AmbiguousName(_) => {
                Self::new(Exit::Usage, what).hint("`onward bundle list` shows what there is")
            }
            bundle::Error::NoInclude { .. } => Self::new(Exit::Usage, what)
                .hint("does `[build] run` make it? Otherwise correct `[bundle] include`"),
            _ => Self::new(Exit::Failed, what),
        }
    }
}

/// The complaint about a failure of the system under `path`.
pub fn system(path: &std::path::Path, error: &std::io::Error) -> Complaint {
    Complaint::new(Exit::Failed, format!("{}: {error}", path.display()))
}
