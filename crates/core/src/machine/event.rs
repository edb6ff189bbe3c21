//! What is told while a set-up is carried out.

use serde::{Deserialize, Serialize};

use super::change::{Change, Question};

/// What a confirmation has to name: it belongs to one guarded change of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

/// The longest token.
const TOKEN_BYTES_MAX: usize = 64;

impl Token {
    /// A token of letters and digits; none for other texts, because it becomes part of names.
    pub fn new(text: &str) -> Option<Self> {
        let legal = (1..=TOKEN_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric());
        legal.then(|| Self(text.to_owned()))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text).ok_or_else(|| "a token is made of letters and digits".to_owned())
    }
}

/// What is told while a set-up is carried out. The last one is [`Event::Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The changes that will be made.
    Planned {
        /// In order.
        changes: Vec<Change>,
        /// What people should know.
        notes: Vec<String>,
    },
    /// Nothing was changed: these have to be answered first.
    Asks {
        /// The questions.
        questions: Vec<Question>,
    },
    /// A change begins.
    Begun {
        /// Which, counted from 0.
        change: usize,
    },
    /// A line of a program that works on it.
    Says {
        /// The line.
        line: String,
    },
    /// A change is made.
    Made {
        /// Which, counted from 0.
        change: usize,
    },
    /// A change could not be made.
    Failed {
        /// Which, counted from 0.
        change: usize,
        /// Why, in words.
        text: String,
    },
    /// What could lock the operator out is in force, and is undone unless somebody confirms it over
    /// a new connection.
    Confirm {
        /// What to name.
        token: Token,
        /// The time for it, in seconds.
        within_s: u32,
    },
    /// It was confirmed, and stays.
    Confirmed,
    /// Nobody confirmed it, or it failed: the machine is as it was before.
    Undone {
        /// Why, in words.
        text: String,
    },
    /// It is over.
    Finished {
        /// Whether the machine is what it shall be.
        ok: bool,
        /// How many changes were made and stay.
        changed: usize,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
}
