//! What the agent says over standard input: a line when there is something to look at, the end when
//! it goes.

use std::io::{self, BufRead};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The calls of the agent, so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Debug, Default)]
struct Heard {
    called: bool,
    over: bool,
}

/// Why somebody stopped waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// The time is over.
    InTime,
    /// There is something to look at.
    Called,
    /// The agent is gone.
    Over,
}

impl Woken {
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }
}

impl Calls {
    /// Listens to standard input from now on.
    pub(super) fn listen() -> Self {
        let calls = Self::default();
        let heard = calls.clone();
        thread::spawn(move || {
            for _ in io::stdin().lock().lines().map_while(Result::ok) {
                heard.hear(|heard| heard.called = true);
            }
            heard.hear(|heard| heard.over = true);
        });
        calls
    }

    fn hear(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.locked());
        self.0.1.notify_all();
    }

    fn locked(&self) -> MutexGuard<'_, Heard> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the agent is gone.
    pub(super) fn are_over(&self) -> bool {
        self.locked().over
    }

    /// Waits for a call, at most for so long. A call that was heard is forgotten.
    pub(super) fn wait(&self, within: Duration) -> Woken {
        let quiet = |heard: &mut Heard| !heard.called && !heard.over;
        let waited = self.0.1.wait_timeout_while(self.locked(), within, quiet);
        let mut heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (heard.over, std::mem::take(&mut heard.called)) {
            (true, _) => Woken::Over,
            (false, true) => Woken::Called,
            (false, false) => Woken::InTime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_wakes_once_and_the_end_for_ever() {
        let calls = Calls::default();
        let (soon, long) = (Duration::from_millis(1), Duration::from_secs(600));
        assert_eq!(calls.wait(soon), Woken::InTime);
        calls.hear(|heard| heard.called = true);
        assert_eq!(calls.wait(long), Woken::Called);
        assert_eq!(calls.wait(soon), Woken::InTime);
        calls.hear(|heard| heard.over = true);
        assert_eq!(calls.wait(long), Woken::Over);
        assert!(calls.are_over());
    }
}
