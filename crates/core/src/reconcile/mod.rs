//! The roll-forward of one server: from its order and the facts to the next actions.
//!
//! [`reconcile`] is a pure function that the agent calls after every event. It asks only for what
//! can be done now; what takes time shows in the facts as under way, so nothing is asked twice.
//!
//! # Guarantees
//! - Nothing starts from files whose digest was not verified on this server since the agent's start.
//! - Traffic goes to a release when all of its instances with traffic are ready, not before.
//! - An instance is stopped when no route names it and its requests have ended or had their time.
//! - Processes without traffic of two releases never run at once, unless they say `overlap`.
//! - A scheduled run begins once, and never beside another of its schedule or one of another release.
//! - A command runs once for its operation, and never beside another.

mod facts;
mod plan;
mod reporting;
mod schedules;
mod wanted;
mod watching;

pub use facts::{
    CommandFact, Facts, Files, JobFact, Kept, KeptCommand, KeptSchedule, ReleaseTraffic, RouteFact,
    Slot, SlotId, SlotState, WatchFact,
};
pub use plan::{Action, Reconciled, reconcile};
pub use schedules::next_due;

/// The time that requests in flight have after their release lost its traffic, in milliseconds.
pub const DRAIN_WITHIN_MS: u64 = 30_000;
/// The time that upgraded connections (WebSockets) have after that, in milliseconds.
pub const UPGRADED_WITHIN_MS: u64 = 600_000;
/// How many times a new instance may end before it was ever ready.
pub const START_ATTEMPTS_MAX: u32 = 2;
/// The first pause before an instance or a staging is tried again, in milliseconds; it doubles.
pub const BACKOFF_FIRST_MS: u64 = 100;
/// The longest such pause, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 30_000;
/// A watch fails when more than this share of requests fail, in percent.
pub const WATCH_ERRORS_PERCENT: u64 = 5;
/// A watch does not judge fewer requests than this.
pub const WATCH_REQUESTS_MIN: u64 = 50;
/// A watch fails when the share of errors is more than so many times the share before.
pub const WATCH_ERRORS_TIMES: u64 = 3;

/// The pause after the n-th failure in a row (counted from 1), in milliseconds: it doubles from
/// [`BACKOFF_FIRST_MS`] to [`BACKOFF_MAX_MS`], with a quarter of it spread by `jitter`, any number.
pub fn backoff_ms(failures: u32, jitter: u64) -> u64 {
    let doubled = BACKOFF_FIRST_MS << failures.saturating_sub(1).min(16);
    let pause = doubled.min(BACKOFF_MAX_MS);
    pause - jitter % (pause / 4 + 1)
}
