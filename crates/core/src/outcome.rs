//! The three answers of a port: done, refused, unknown.

use serde::{Deserialize, Serialize};

/// What a port that changes something answers. A time-out is `Unknown`, never a failure and never
/// a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "an answer that is not looked at is an answer that is guessed"]
pub enum Outcome<T, R> {
    /// It happened.
    Done(T),
    /// It did not happen, and will not happen later either.
    Refused(R),
    /// It may have happened, may happen later, or may never happen; the text says why we do not
    /// know.
    Unknown(String),
}
