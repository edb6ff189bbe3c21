//! A worker: one thread, one runtime, its own connections in both directions.
//!
//! ```text
//!  socket ─► gate ─► hyper server ─► exchange ─► upstream ─► instance
//!               └────── one task per client connection ───────┘
//! ```
//! Nothing moves between threads but numbers and the table.

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client_side::{ClientSide, Millis, Stop};
use crate::connection;
use crate::files::READERS;
use crate::routing::{Routed, Routing};
use crate::shared::{Mailbox, Shared};
use crate::sockets;
use crate::stage::Stage;

/// How often the watchdog looks at most, and how exact the limits are: a second in a minute.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// How long a worker waits before it accepts again when the system or the limit doesn't let it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    number: usize,
    born: Instant,
    now: Cell<Millis>,
    routing: RefCell<Routing>,
    clients: RefCell<Vec<Rc<ClientSide>>>,
}

/// The sockets that clients come to.
pub(crate) struct Listeners<T> {
    pub(crate) http: T,
    pub(crate) https: Option<T>,
}

impl Listeners<StdListener> {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let https = self.https.as_ref().map(StdListener::try_clone).transpose()?;
        Ok(Self { http: self.http.try_clone()?, https })
    }

    fn into_tokio(self) -> io::Result<Listeners<TcpListener>> {
        let open = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        Ok(Listeners { http: open(self.http)?, https: self.https.map(open).transpose()? })
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self {
            shared,
            number,
            born: Instant::now(),
            now: Cell::new(1),
            routing: RefCell::default(),
            clients: RefCell::default(),
        }
    }

    /// Milliseconds on this worker's coarse clock, never zero; moved on by the watchdog.
    pub(crate) fn now(&self) -> Millis {
        self.now.get()
    }

    /// What begins a session with a client.
    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        self.shared.door.acceptor()
    }

    fn mailbox(&self) -> &Mailbox {
        &self.shared.workers[self.number]
    }

    /// Ends when the table was switched (or something else is worth looking again), counted from
    /// this call, not from the first poll.
    pub(crate) fn table_change(&self) -> impl Future<Output = ()> {
        self.mailbox().bell.notified()
    }

    /// Whether the table was switched since [`Worker::route`] was last asked.
    pub(crate) fn is_stale(&self) -> bool {
        self.routing.borrow().generation() != self.shared.generation()
    }

    /// The route that takes requests for `host` and `path`, by the table in force, and whether the
    /// host is only another name of its own.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<(Routed, bool)> {
        self.routing().find(host, path)
    }

    /// The route of the fleet whose key this is, by the table in force. A peer has decided whose
    /// request it is: by names that nobody has, several apps could be meant here.
    pub(crate) fn route_of_fleet(&self, key: &HeaderValue) -> Option<Routed> {
        self.routing().of_fleet(key)
    }

    /// The answer to a challenge, by the table in force.
    pub(crate) fn challenge(&self, token: &str) -> Option<String> {
        self.routing().challenge(token)
    }

    /// Whether the table in force has any route.
    pub(crate) fn has_routes(&self) -> bool {
        !self.routing().is_empty()
    }

    fn routing(&self) -> Ref<'_, Routing> {
        if self.is_stale() {
            self.refresh();
        }
        self.routing.borrow()
    }

    /// Fetches the table in force; keeps the connections to instances that stay.
    fn refresh(&self) {
        let next = Routing::after(&self.routing.borrow(), self.shared.snapshot());
        let before = self.routing.replace(next);
        before.retire_all_but(&self.routing.borrow());
    }

    pub(crate) fn enlist(&self, client: &Rc<ClientSide>) {
        if !client.is_stream {
            self.shared.connections.fetch_add(1, Relaxed);
        }
        let mut clients = self.clients.borrow_mut();
        client.slot.set(clients.len());
        clients.push(client.clone());
    }

    pub(crate) fn dismiss(&self, client: &ClientSide) {
        let mut clients = self.clients.borrow_mut();
        clients.swap_remove(client.slot.get());
        if let Some(moved) = clients.get(client.slot.get()) {
            moved.slot.set(client.slot.get());
        }
        drop(clients);
        if !client.is_stream {
            self.shared.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Lets every connection see that the proxy closes.
    fn rouse(&self) {
        self.clients.borrow().iter().for_each(|client| client.wake());
    }

    /// One look of the watchdog at everything that has a limit.
    fn look_around(&self) {
        self.now.set(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX) + 1);
        let draining = self.shared.stage() == Stage::Draining;
        for client in self.clients.borrow().iter() {
            if let Some(stop) = client.overdue(self.now(), &self.shared.limits, draining) {
                client.stop(stop);
            }
        }
        for pool in self.routing.borrow().pools() {
            pool.sweep(self.shared.limits.upstream_idle_within);
        }
    }

    fn carry_out_cuts(&self) {
        for instance in self.mailbox().take_cuts() {
            for client in self.clients.borrow().iter() {
                if client.is_given_to(&instance) {
                    client.stop(Stop::Cut);
                }
            }
        }
    }
}

/// Runs one worker until the proxy drains and its last connection is over (or the limit for that).
pub(crate) fn run(
    shared: Arc<Shared>,
    number: usize,
    listeners: Listeners<StdListener>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build_local(Default::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(shared, number));
        let Listeners { http, https } = listeners.into_tokio()?;
        let plain = tokio::task::spawn_local(accept(worker.clone(), http, false));
        let secure = https.map(|own| tokio::task::spawn_local(accept(worker.clone(), own, true)));
        watch(&worker).await;
        plain.abort();
        if let Some(secure) = secure {
            secure.abort();
        }
        drain(&worker).await;
        Ok(())
    })
}

/// Ticks and answers the bell until the proxy drains.
async fn watch(worker: &Rc<Worker>) {
    let mut tick = ticker(worker);
    loop {
        let rung = worker.table_change();
        if worker.shared.stage().is_closing() {
            return;
        }
        tokio::select! {
            _ = tick.tick() => worker.look_around(),
            () = rung => answer_bell(worker),
        }
    }
}

fn answer_bell(worker: &Rc<Worker>) {
    worker.carry_out_cuts();
    if worker.is_stale() {
        worker.refresh();
    }
}

fn ticker(worker: &Worker) -> tokio::time::Interval {
    let limits = &worker.shared.limits;
    let all = [
        limits.head_within,
        limits.idle_within,
        limits.stall_within,
        limits.answer_within,
        limits.upstream_idle_within,
        limits.shutdown_idle_within,
    ];
    let shortest = all.into_iter().min().unwrap_or(LONGEST_TICK) / 4;
    let mut tick = tokio::time::interval(shortest.clamp(Duration::from_millis(10), LONGEST_TICK));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}

/// Lets what is open finish, within the time that the stage allows.
async fn drain(worker: &Rc<Worker>) {
    worker.rouse();
    let limits = &worker.shared.limits;
    let leave_until = Instant::now() + limits.leave_within;
    let mut until = None;
    let mut tick = tokio::time::interval(ACCEPT_PAUSE);
    let mut watchdog = ticker(worker);
    while !worker.clients.borrow().is_empty() {
        if worker.shared.stage() == Stage::Draining {
            until.get_or_insert_with(|| Instant::now() + limits.shutdown_within);
        }
        if Instant::now() >= until.unwrap_or(leave_until) {
            return;
        }
        let rung = worker.table_change();
        tokio::select! {
            _ = tick.tick() => {}
            _ = watchdog.tick() => worker.look_around(),
            () = rung => answer_bell(worker),
        }
    }
}

/// A successor accepts nobody until it is told to.
async fn until_accepting(worker: &Worker) {
    loop {
        let rung = worker.table_change();
        if worker.shared.stage() != Stage::Waiting {
            return;
        }
        rung.await;
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, secure: bool) {
    until_accepting(&worker).await;
    loop {
        if worker.shared.connections.load(Relaxed) >= worker.shared.limits.connections {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        }
        match listener.accept().await {
            // A socket for both kinds of addresses says IPv4 addresses in IPv6 words.
            Ok((stream, peer)) => start(&worker, stream, peer.ip().to_canonical(), secure),
            Err(_) => {
                // Out of descriptors or memory, or the client went away at once: the backlog waits.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(worker: &Rc<Worker>, stream: TcpStream, peer: IpAddr, secure: bool) {
    let shared = &worker.shared;
    let Ok(seat) = shared.crowd.admit(peer, &shared.limits) else {
        shared.turned_away.fetch_add(1, Relaxed);
        return sockets::reset(stream);
    };
    let client = Rc::new(ClientSide::new(peer, seat, secure, worker.now()));
    worker.enlist(&client);
    tokio::task::spawn_local(connection::serve(worker.clone(), client, stream));
}
