//! Ctrl-C, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// How often the person pressed Ctrl-C, or a script sent TERM, since [`watch`].
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// How often.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts interrupts from now on instead of dying of them.
pub fn watch() -> Interrupts {
    let interrupts = Interrupts::default();
    let count = interrupts.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (int, term) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            let (Ok(mut int), Ok(mut term)) = (int, term) else { return };
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                count.0.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    interrupts
}
