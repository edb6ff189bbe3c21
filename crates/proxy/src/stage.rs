//! How far a proxy is in its life: what it does with new connections and with those it has.

use serde::{Deserialize, Serialize};

/// How far a proxy is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was started beside another, which still serves. It accepts nobody yet.
    Waiting,
    /// It accepts connections.
    #[default]
    Serving,
    /// Another one accepts in its place. It serves the connections that it has until they end by
    /// themselves, and still follows the table.
    Leaving,
    /// It got SIGTERM: it ends as soon as what is in flight is over.
    Draining,
}

impl Stage {
    /// All of them, in their order.
    const ALL: [Self; 4] = [Self::Waiting, Self::Serving, Self::Leaving, Self::Draining];

    /// As a number that grows.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The stage with this number; the last one beyond.
    pub(crate) fn of_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|stage| stage.number() == number).unwrap_or(Self::Draining)
    }

    /// Whether it accepts nobody any more.
    pub fn is_closing(self) -> bool {
        self >= Self::Leaving
    }
}
