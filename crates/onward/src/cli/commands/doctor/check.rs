//! What one look found.

use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It works, and may not for long or not for everything.
    Warning,
    /// A deploy would fail.
    Broken,
}

impl Verdict {
    /// Its mark in front of a line; all are of one width.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Fine => "ok  ",
            Self::Warning => "warn",
            Self::Broken => "FAIL",
        }
    }
}

/// One look at one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it; always there unless it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    /// It is as it should be.
    pub fn fine(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fine, text: text.into(), fix: None }
    }

    /// The same, told with its place in front.
    pub fn at(mut self, place: &str) -> Self {
        self.text.insert_str(0, place);
        self
    }

    /// It works, with a reason to look at it.
    pub fn warning(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    /// It does not work.
    pub fn broken(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Broken, text: text.into(), fix: Some(fix.into()) }
    }
}
