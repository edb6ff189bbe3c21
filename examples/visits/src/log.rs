//! The border to whatever keeps the events.

use std::io;

use crate::history::{Event, History};

/// How far a log has been read. Only the log that made one understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

/// A history together with the position in the log that it reflects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Everything before this is in `history`.
    pub position: Position,
    /// The sum of those events.
    pub history: History,
}

/// An append-only log of events that several instances share.
///
/// # Guarantees
/// - An event is appended whole or not at all as far as any reader can tell, however many
///   instances append at once, and whenever one of them is killed.
/// - After `append` has returned, every `read` of every instance sees the event.
/// - Readers see the same events in the same order.
/// - At most one instance writes a snapshot at a time, and an older one never replaces a newer.
///
/// # Errors
/// Those of the store. After a failed `append` the event is not in the log.
pub trait Log: Send + Sync {
    /// Adds an event.
    fn append(&self, event: &Event) -> io::Result<()>;

    /// The next events after `from` in order, and the position after the last of them. When the
    /// position is still `from` there is nothing more. How many come at once is limited.
    fn read(&self, from: Position) -> io::Result<(Vec<Event>, Position)>;

    /// The newest snapshot that is intact, if there is one.
    fn snapshot(&self) -> io::Result<Option<Snapshot>>;

    /// Offers a snapshot. Does nothing when another instance is writing one, or has written one
    /// that reaches as far.
    fn offer(&self, snapshot: &Snapshot) -> io::Result<()>;
}
