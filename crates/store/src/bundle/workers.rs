//! A few threads over a list of work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::error::Result;
use super::limits::MAX_THREADS;

/// Below this many items threads cost more than they give.
const ALONE: usize = 32;

/// Calls `work` with the next index below `count` through `next`, from several threads, until none is left or one
/// fails. `batch` neighbours go to the same thread.
///
/// # Errors
/// The first error of any thread; the others stop after their item.
pub(crate) fn share<F>(count: usize, batch: usize, work: F) -> Result<()>
where
    F: Fn(&mut dyn Iterator<Item = usize>) -> Result<()> + Sync,
{
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut batch_left = 0..0;
        let mut items = std::iter::from_fn(|| {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            if batch_left.is_empty() {
                let start = next.fetch_add(batch, Ordering::Relaxed);
                batch_left = start.min(count)..(start + batch).min(count);
            }
            batch_left.next()
        });
        work(&mut items).inspect_err(|_| stop.store(true, Ordering::Relaxed))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    if threads == 1 || count <= ALONE.min(batch) {
        return run();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut result = run();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(theirs);
        }
        result
    })
}
