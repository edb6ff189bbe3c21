//! How many requests a client may take back before it is shut out.
//!
//! Opening a stream and taking it back at once costs the client nothing and the app a whole request,
//! again and again (CVE-2023-44487); so does making the proxy end it (CVE-2025-8671). People who
//! leave a page half-way do the same, some dozens at a time.

use std::cell::Cell;

use crate::client_side::Millis;

/// Requests that may be taken back at once: four full pages, one after the other.
const AT_ONCE: u64 = 512;
/// After this time one more is forgiven. Somebody who types into a search takes back about as many.
const FORGIVEN_AFTER: Millis = 100;

/// What is left of it. Whoever lets requests be answered gets it back one by one.
#[derive(Default)]
pub(super) struct Patience {
    /// When all is forgiven.
    worn_until: Cell<Millis>,
    over: Cell<bool>,
}

impl Patience {
    /// A request was taken back.
    pub(super) fn wear(&self, now: Millis) {
        let until = self.worn_until.get().max(now) + FORGIVEN_AFTER;
        self.worn_until.set(until);
        if until > now + AT_ONCE * FORGIVEN_AFTER {
            self.over.set(true);
        }
    }

    /// One was answered.
    pub(super) fn restore(&self) {
        self.worn_until.set(self.worn_until.get().saturating_sub(FORGIVEN_AFTER));
    }

    /// Whether there is none left; for good.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worn(times: u64, now: Millis) -> Patience {
        let patience = Patience::default();
        (0..times).for_each(|_| patience.wear(now));
        patience
    }

    #[test]
    fn so_many_at_once_and_no_more() {
        assert!(!worn(AT_ONCE, 7).is_over());
        assert!(worn(AT_ONCE + 1, 7).is_over());
    }

    #[test]
    fn time_and_answers_restore_it_and_save_nothing_up() {
        let patience = worn(AT_ONCE, 1_000);
        patience.wear(1_000 + FORGIVEN_AFTER);
        assert!(!patience.is_over(), "one was forgiven");
        patience.restore();
        patience.wear(1_000 + FORGIVEN_AFTER);
        assert!(!patience.is_over(), "one was answered");
        patience.wear(1_000 + FORGIVEN_AFTER);
        assert!(patience.is_over());

        let good = Patience::default();
        (0..10_000).for_each(|_| good.restore());
        (0..=AT_ONCE).for_each(|_| good.wear(1_000_000));
        assert!(good.is_over(), "a flood after a long good life is a flood");
    }
}
