//! A waker that keeps quiet while its own task runs anyway.
//!
//! Both ends of a connection to an instance, hyper's and ours, run in one task. They wake each other
//! through channels while that task is running, and each such wake would run the whole connection
//! once more for nothing. This one only notes them; whoever drives the connection looks at the note.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

const RESTING: u8 = 0;
const RUNNING: u8 = 1;
const RUNG: u8 = 2;

/// Most rounds in one run; a connection that still has something to do then is woken properly.
const ROUNDS: usize = 8;

#[derive(Default)]
struct State {
    stage: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl State {
    fn wake_task(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.as_ref() {
            task.wake_by_ref();
        }
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One number decides: a wake is either seen by the running task or reaches the resting one.
        if self.stage.compare_exchange(RUNNING, RUNG, SeqCst, SeqCst) == Err(RESTING) {
            self.wake_task();
        }
    }
}

/// The muffled waker of one task.
pub(crate) struct Muffler {
    state: Arc<State>,
    waker: Waker,
}

impl Muffler {
    pub(crate) fn new() -> Self {
        let state = Arc::new(State::default());
        Self { waker: Waker::from(state.clone()), state }
    }

    /// Runs `step` until it is ready, or until it is pending and nothing rang meanwhile.
    pub(crate) fn run<T>(
        &self,
        cx: &Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.remember(cx.waker());
        let mut muffled = Context::from_waker(&self.waker);
        for _ in 0..ROUNDS {
            self.state.stage.store(RUNNING, SeqCst);
            let result = step(&mut muffled);
            let rung = self.state.stage.swap(RESTING, SeqCst) == RUNG;
            if result.is_ready() || !rung {
                return result;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn remember(&self, waker: &Waker) {
        let mut task = self.state.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }
}
