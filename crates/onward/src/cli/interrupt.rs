//! Ctrl-C, counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often it was pressed in this process, whoever watches.
static PRESSED: AtomicU32 = AtomicU32::new(0);

/// How often the person pressed Ctrl-C, or a script sent TERM, since [`watch`].
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// How often.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often Ctrl-C was pressed since the first [`watch`]; each of several watchers counts it.
pub fn pressed() -> u32 {
    PRESSED.load(Ordering::Relaxed)
}

/// Counts interrupts from now on instead of dying of them.
pub fn watch() -> Interrupts {
    let interrupts = Interrupts::default();
    // What comes before the thread runs is not lost: the signals are taken over here.
    let Ok(taken) = taken() else { return interrupts };
    let count = interrupts.clone();
    thread::spawn(move || {
        let (runtime, mut int, mut term) = taken;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                PRESSED.fetch_add(1, Ordering::Relaxed);
                count.0.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    interrupts
}

fn taken() -> io::Result<(Runtime, Signal, Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let (int, term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    Ok((runtime, int, term))
}
