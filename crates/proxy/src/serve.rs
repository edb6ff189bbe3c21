//! The proxy as a whole: starts the workers and the control socket, ends them in order.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::control::{self, Control, ControlSocket};
use crate::limits::Limits;
use crate::shared::Shared;
use crate::sockets;
use crate::table_file::{self, TableFileError};
use crate::worker;

/// Most workers by default: beyond it the apps want the cores themselves.
const MOST_WORKERS: usize = 4;

/// What a proxy needs to run.
#[derive(Debug)]
pub struct Config {
    /// The listening socket. The proxy never closes the last copy by itself while it runs; hand it
    /// on by [`crate::Client::listener`].
    pub listener: TcpListener,
    /// Path of the control socket; replaced if it exists, mode 0600.
    pub control: PathBuf,
    /// Path of the durable table. Its directory must exist and be writable.
    pub table_file: PathBuf,
    /// Threads that carry traffic, at least one; see [`default_workers`].
    pub workers: usize,
    /// What clients and instances are allowed.
    pub limits: Limits,
}

/// Why the proxy can't run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The durable table can't be used. Nothing was served.
    #[error(transparent)]
    Table(#[from] TableFileError),
    /// The operating system refused something.
    #[error("the proxy can't {what}: {source}")]
    Io {
        /// What it wanted.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// As many workers as cores, four at most.
#[must_use]
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS)
}

/// The listening socket that this process got as its standard input, as inetd gives it.
///
/// # Errors
/// When standard input is no listening TCP socket.
pub fn listener_from_stdin() -> Result<TcpListener, Error> {
    sockets::listener_from_stdin().map_err(failed("take the listening socket"))
}

/// Ends a proxy from another thread, as SIGTERM would.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<Notify>);

impl Stopper {
    /// Asks the proxy to finish what is in flight and end.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Runs the proxy until SIGTERM; then accepts nobody, finishes what is in flight (up to
/// [`Limits::shutdown_within`]) and returns.
///
/// # Errors
/// [`Error::Table`] when the durable table is damaged, [`Error::Io`] when a socket can't be had.
pub fn run(config: Config) -> Result<(), Error> {
    run_until(config, &Stopper::default())
}

/// [`run`], which `stopper` ends as well.
///
/// # Errors
/// As [`run`].
pub fn run_until(config: Config, stopper: &Stopper) -> Result<(), Error> {
    let Config { listener, control, table_file, workers, limits } = config;
    let workers = workers.max(1);
    sockets::raise_descriptor_limit(limits.connections, limits.upstream_connections * workers);
    let table = table_file::load(&table_file)?;
    let shared = Arc::new(Shared::new(limits, workers, table));
    let threads = start_workers(&shared, &listener)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(failed("start its control thread"))?;
    let controlled = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("wait for SIGTERM"))?;
        let socket = ControlSocket::bind(&control).map_err(failed("open its control socket"))?;
        let parts = Control { shared: shared.clone(), table_file, listener };
        let parts = Rc::new(parts);
        tokio::select! {
            () = control::serve(&socket, parts.clone()) => {}
            _ = terminate.recv() => {}
            () = stopper.0.notified() => {}
        }
        stop_workers(&shared);
        // While the workers finish, the counters stay readable.
        let joined = tokio::task::spawn_blocking(move || join(threads));
        tokio::select! {
            () = control::serve(&socket, parts) => Ok(()),
            result = joined => result.unwrap_or_else(|error| {
                Err(Error::Io { what: "end its workers", source: io::Error::other(error) })
            }),
        }
    });
    if controlled.is_err() {
        stop_workers(&shared);
    }
    controlled
}

type Threads = Vec<thread::JoinHandle<io::Result<()>>>;

fn start_workers(shared: &Arc<Shared>, listener: &TcpListener) -> Result<Threads, Error> {
    let start = |number| {
        let (shared, listener) = (shared.clone(), listener.try_clone()?);
        let thread = thread::Builder::new().name(format!("proxy-{number}"));
        thread.spawn(move || worker::run(shared, number, listener))
    };
    (0..shared.workers.len())
        .map(start)
        .collect::<io::Result<_>>()
        .map_err(failed("start a worker"))
}

fn stop_workers(shared: &Shared) {
    shared.draining.store(true, Relaxed);
    shared.ring();
}

fn join(threads: Threads) -> Result<(), Error> {
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        ended.map_err(failed("run a worker"))?;
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { what, source }
}
