//! Waiting for something that another process does.

use std::time::{Duration, Instant};

/// The time that anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer, and returns it with the time that passed.
///
/// # Panics
/// When there is none within `limit`.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return (answer, began.elapsed());
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// [`within`] the patience of a test.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask).0
}
