//! The proxy as a whole: starts the workers and the control socket, ends them in order.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::access::AccessLog;
use crate::certificates::Keyring;
use crate::certificates_file;
use crate::client::{Client, ClientError};
use crate::control::{self, Control, ControlSocket};
use crate::heritage::Heritage;
use crate::limits::Limits;
use crate::shared::Shared;
use crate::sockets;
use crate::stage::Stage;
use crate::table_file::{self, TableFileError};
use crate::worker::{self, Listeners};

/// Most workers by default: beyond it the apps want the cores themselves.
const MOST_WORKERS: usize = 4;
/// How long a successor waits until it is told to accept. Whoever started it has died by then.
const CLAIMED_WITHIN: Duration = Duration::from_secs(60);
/// How often, and how many times, a proxy that left tries to tell its heir what it counted: the heir
/// may be starting again.
const BEQUEATH_EVERY: Duration = Duration::from_millis(100);
const BEQUEATH_TRIES: u32 = 30;

/// What a proxy needs to run.
#[derive(Debug)]
pub struct Config {
    /// The listening socket. The proxy never closes the last copy by itself while it runs; hand it
    /// on by [`crate::Client::listener`].
    pub listener: TcpListener,
    /// The socket that clients with TLS come to, if there is one: the same holds for it, and
    /// [`crate::Client::https_listener`].
    pub https: Option<TcpListener>,
    /// Path of the control socket; replaced if it exists, mode 0600.
    pub control: PathBuf,
    /// Path of the durable table. Its directory must exist and be writable; the certificates are
    /// kept beside it ([`crate::certificates_file`]).
    pub table_file: PathBuf,
    /// Threads that carry traffic, at least one; see [`default_workers`].
    pub workers: usize,
    /// What clients and instances are allowed.
    pub limits: Limits,
    /// Where the access log of the routes that want one is written; `None`: nowhere.
    pub access_log: Option<PathBuf>,
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

/// The socket for TLS that this process got as its standard output: a process can be given that one
/// and its standard input without anything unsafe. `None` when standard output is something else.
#[must_use]
pub fn https_listener_from_stdout() -> Option<TcpListener> {
    sockets::listener_from_stdout()
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
    run_as(config, stopper, |shared| shared)
}

/// [`run`], as the successor of the proxy whose control socket is `predecessor`: it continues that
/// one's epoch and counters, and accepts nobody until it is told to by [`Client::accept`]. It ends
/// when that does not happen within a minute.
///
/// # Errors
/// As [`run`].
pub fn run_after(config: Config, predecessor: &Path) -> Result<(), Error> {
    // Without an answer it starts with new counters: serving goes before counting.
    let heritage = Client::connect(predecessor).and_then(|mut own| own.heritage()).ok();
    run_as(config, &Stopper::default(), |shared| shared.succeed(heritage))
}

fn run_as(
    config: Config,
    stopper: &Stopper,
    prepare: impl FnOnce(Shared) -> Shared,
) -> Result<(), Error> {
    let Config { listener, https, control, table_file, workers, limits, access_log } = config;
    let workers = workers.max(1);
    sockets::raise_descriptor_limit(limits.connections, limits.upstream_connections * workers);
    let table = table_file::load(&table_file)?;
    let access = AccessLog::start(access_log.as_deref()).map_err(failed("start its access log"))?;
    let shared = Arc::new(prepare(Shared::new(limits, workers, table, access)));
    let certificates_file = certificates_file::beside(&table_file);
    shared.door.exchange(kept_keyring(&certificates_file));
    let listeners = Listeners { http: listener, https };
    if listeners.https.is_some() {
        let door = shared.door.clone();
        let warm_up = thread::Builder::new().name("tls-start".to_owned());
        // Without it the first client waits for what it does.
        let _ = warm_up.spawn(move || drop(door.acceptor().clone()));
    }
    let threads = start_workers(&shared, &listeners)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(failed("start its control thread"))?;
    let controlled = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed("wait for SIGTERM"))?;
        let socket = ControlSocket::bind(&control).map_err(failed("open its control socket"))?;
        let heir = RefCell::default();
        let metrics = RefCell::default();
        let parts = Control {
            shared: shared.clone(),
            table_file,
            certificates_file,
            listeners,
            heir,
            metrics,
        };
        let parts = Rc::new(parts);
        parts.tell_metrics();
        tokio::select! {
            () = control::serve(&socket, parts.clone()) => {}
            _ = terminate.recv() => shared.advance(Stage::Draining),
            () = stopper.0.notified() => shared.advance(Stage::Draining),
            () = unclaimed(&shared) => shared.advance(Stage::Draining),
            () = shared.left() => {}
        }
        // While the workers finish, the counters stay readable.
        let joined = tokio::task::spawn_blocking(move || join(threads));
        let ended = tokio::select! {
            () = control::serve(&socket, parts.clone()) => Ok(()),
            () = drain_when(&mut terminate, stopper, &shared) => Ok(()),
            result = joined => result.unwrap_or_else(|error| {
                Err(Error::Io { what: "end its workers", source: io::Error::other(error) })
            }),
        };
        bequeath(&shared, &socket, parts).await;
        ended
    });
    if controlled.is_err() {
        shared.advance(Stage::Draining);
    }
    controlled
}

type Threads = Vec<thread::JoinHandle<io::Result<()>>>;

/// What an earlier proxy was given. Without it, those who come without TLS are served all the same,
/// and whoever sets the table finds out from the status that certificates are missing.
fn kept_keyring(path: &Path) -> Keyring {
    let kept = certificates_file::load(path).and_then(|kept| {
        let keyring = kept.map(|kept| Keyring::of(&kept)).transpose()?;
        Ok(keyring.unwrap_or_default())
    });
    kept.unwrap_or_else(|error| {
        eprintln!("no certificate is shown until they are given again: {error}");
        Keyring::default()
    })
}

fn start_workers(
    shared: &Arc<Shared>,
    listeners: &Listeners<TcpListener>,
) -> Result<Threads, Error> {
    let start = |number| {
        let (shared, listeners) = (shared.clone(), listeners.try_clone()?);
        let thread = thread::Builder::new().name(format!("proxy-{number}"));
        thread.spawn(move || worker::run(shared, number, listeners))
    };
    (0..shared.workers.len())
        .map(start)
        .collect::<io::Result<_>>()
        .map_err(failed("start a worker"))
}

/// Ends when a successor was not claimed in time.
async fn unclaimed(shared: &Shared) {
    tokio::time::sleep(CLAIMED_WITHIN).await;
    if shared.stage() != Stage::Waiting {
        std::future::pending::<()>().await;
    }
}

/// A proxy that leaves may still be told to end; never ends by itself.
async fn drain_when(terminate: &mut Signal, stopper: &Stopper, shared: &Shared) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            () = stopper.0.notified() => {}
        }
        shared.advance(Stage::Draining);
    }
}

/// Tells the heir what was counted to the end. Questions are answered until it has been told, so
/// that whoever asks both finds it at one of them.
async fn bequeath(shared: &Shared, socket: &ControlSocket, parts: Rc<Control>) {
    let Some(heir) = parts.heir.take() else { return };
    let Heritage { epoch, own, .. } = shared.heritage();
    let told = tokio::task::spawn_blocking(move || {
        for _ in 0..BEQUEATH_TRIES {
            let tell = |mut client: Client| client.inherit(&epoch, own.clone());
            match Client::connect(&heir).and_then(tell) {
                Ok(()) | Err(ClientError::Refused { .. }) => return,
                Err(_) => thread::sleep(BEQUEATH_EVERY),
            }
        }
    });
    tokio::select! {
        () = control::serve(socket, parts) => {}
        _ = told => {}
    }
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
