//! Which way files take: from here to every server, or from here to the manager and on from there.
//!
//! The line of a laptop is shared by all transfers, so files that go to many servers travel over it as
//! often. Servers are usually nearer to each other; whether they are is measured, not assumed.

use std::time::Duration;

/// The rate is not believed before: until then buffers fill, and nothing is known of the line.
const MEASURED_AFTER: Duration = Duration::from_secs(1);
/// What is over sooner goes on as it is: to change the way costs a connection or two.
const SPREADS_FROM: Duration = Duration::from_secs(5);
/// How long the manager has to show that its way is the faster one.
const PROVEN_WITHIN: Duration = Duration::from_secs(3);

/// How far a transfer to some servers is, and the line that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    /// Bytes that these servers still lack.
    pub(super) lacking: u64,
    /// Bytes that went over the line, to whomever.
    pub(super) sent: u64,
    /// The time for that.
    pub(super) took: Duration,
}

impl Measured {
    /// The time until these servers lack nothing; none as long as nothing moves.
    pub(super) fn left(&self) -> Option<Duration> {
        if self.sent == 0 {
            return None;
        }
        let nanoseconds = self.took.as_nanos() * u128::from(self.lacking) / u128::from(self.sent);
        Some(u64::try_from(nanoseconds).map_or(Duration::MAX, Duration::from_nanos))
    }

    /// Whether it is worth the change that the manager brings these servers the rest.
    pub(super) fn is_worth_spreading(&self) -> bool {
        self.took >= MEASURED_AFTER && self.left().is_some_and(|left| left > SPREADS_FROM)
    }

    /// Whether the manager's way, which this is, is slower than the one that would take `directly`.
    pub(super) fn is_slower_than(&self, directly: Duration) -> bool {
        self.took >= PROVEN_WITHIN && self.left().is_none_or(|left| left > directly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn after(seconds: u64, sent: u64, lacking: u64) -> Measured {
        Measured { lacking, sent, took: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_takes_long_is_spread_and_what_does_not_is_not() {
        // 1 MB/s, and three servers lack 8 MB each.
        assert_eq!(after(2, 2 * MB, 24 * MB).left(), Some(Duration::from_secs(24)));
        assert!(after(2, 2 * MB, 24 * MB).is_worth_spreading());
        assert!(!after(2, 20 * MB, 24 * MB).is_worth_spreading(), "it is over soon");
        assert!(!after(0, MB / 10, 24 * MB).is_worth_spreading(), "nothing is known yet");
        assert!(!after(60, 0, 24 * MB).is_worth_spreading(), "there is no line");
    }

    #[test]
    fn a_manager_whose_line_is_worse_is_left_out() {
        let directly = Duration::from_secs(20);
        assert!(!after(3, 12 * MB, 12 * MB).is_slower_than(directly));
        assert!(after(3, MB, 23 * MB).is_slower_than(directly));
        assert!(!after(1, 0, 24 * MB).is_slower_than(directly), "it has just begun");
        assert!(after(3, 0, 24 * MB).is_slower_than(directly));
    }
}
