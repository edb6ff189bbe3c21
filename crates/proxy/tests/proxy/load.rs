//! Clients that ask without a pause, never retry, and count everything.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use crate::support::{Wire, wait_until};

/// What the clients counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub good: u64,
    pub server_errors: u64,
    pub broken: u64,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Counted>>,
}

impl Load {
    /// Each client keeps one connection; every fourth opens a new one for each request.
    pub fn start(addr: SocketAddr, clients: usize) -> Self {
        Self::with(clients, move || TcpStream::connect(addr).ok().map(Wire::new))
    }

    /// The same, over whatever is connected.
    pub fn with<S: Read + Write + 'static>(
        clients: usize,
        connect: impl Fn() -> Option<Wire<S>> + Clone + Send + 'static,
    ) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = (0..clients).map(|number| {
            let (stop, done, connect) = (stop.clone(), done.clone(), connect.clone());
            thread::spawn(move || client(&connect, number % 4 == 3, &stop, &done))
        });
        Self { clients: clients.collect(), stop, done }
    }

    /// Waits until this many more requests are answered.
    pub fn wait_for(&self, more: u64) {
        let goal = self.done.load(SeqCst) + more;
        wait_until("the load goes on", || self.done.load(SeqCst) >= goal);
    }

    pub fn stop(self) -> Counted {
        self.stop.store(true, SeqCst);
        let mut sum = Counted::default();
        for client in self.clients {
            let counted = client.join().unwrap();
            sum.good += counted.good;
            sum.server_errors += counted.server_errors;
            sum.broken += counted.broken;
        }
        sum
    }
}

fn client<S: Read + Write>(
    connect: &impl Fn() -> Option<Wire<S>>,
    fresh: bool,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Counted {
    let mut counted = Counted::default();
    let mut wire = None;
    while !stop.load(SeqCst) {
        let Some(mut used) = wire.take().or_else(connect) else {
            counted.broken += 1;
            continue;
        };
        used.send("GET /load HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        let Ok(answer) = used.answer() else {
            counted.broken += 1;
            continue;
        };
        if answer.status >= 500 {
            counted.server_errors += 1;
        } else {
            counted.good += 1;
        }
        done.fetch_add(1, SeqCst);
        let closes = answer.header("connection") == Some("close");
        wire = (!fresh && !closes).then_some(used);
    }
    counted
}
