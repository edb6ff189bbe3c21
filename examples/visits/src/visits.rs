//! Counting and answering: the app itself, apart from sockets and files.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Seconds;
use crate::history::{Event, Release};
use crate::http::{Answer, Request};
use crate::log::{Log, Position, Snapshot};
use crate::page;

/// A snapshot is offered when the log has grown by this much since the last one.
const SNAPSHOT_EVERY_BYTES: u64 = 1024 * 1024;

/// The app: what one instance of one release knows.
pub struct Visits {
    log: Box<dyn Log>,
    release: Release,
    host: String,
    state: Mutex<State>,
}

struct State {
    /// As far as this instance has read.
    current: Snapshot,
    /// Where the last snapshot was offered.
    offered: Position,
}

impl Visits {
    /// Reads what happened so far.
    pub fn open(log: Box<dyn Log>, release: Release, host: String) -> io::Result<Self> {
        let current = log.snapshot()?.unwrap_or_default();
        let offered = current.position;
        let visits = Self { log, release, host, state: Mutex::new(State { current, offered }) };
        drop(visits.catch_up()?);
        Ok(visits)
    }

    /// Notes that this instance runs.
    pub fn started(&self, at: Seconds) -> io::Result<()> {
        self.log.append(&Event::Started { release: self.release.clone(), at })
    }

    /// The answer to a request. Only `GET /` is a visit.
    pub fn answer(&self, request: &Request, now: Seconds) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => self.page(true, now),
            ("HEAD", "/") => self.page(false, now),
            ("GET" | "HEAD", "/up") => match self.catch_up() {
                Ok(_) => Answer::text(200, "up\n"),
                Err(error) => unavailable(&error),
            },
            ("GET" | "HEAD", _) => Answer::text(404, "There is only one page here: /\n"),
            _ => Answer::text(405, "This page can only be read.\n").with("allow", "GET, HEAD"),
        }
    }

    fn page(&self, counts: bool, now: Seconds) -> Answer {
        if counts {
            let visit = Event::Visited { release: self.release.number };
            if let Err(error) = self.log.append(&visit) {
                return unavailable(&error);
            }
        }
        match self.catch_up() {
            Ok(state) => {
                let history = &state.current.history;
                Answer::html(page::page(history, &self.release, &self.host, now))
            }
            Err(error) => unavailable(&error),
        }
    }

    /// Reads what was appended since, by this instance and by others.
    fn catch_up(&self) -> io::Result<MutexGuard<'_, State>> {
        // A panic elsewhere cannot have left events half-added: adding does not panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (events, next) = self.log.read(state.current.position)?;
            if next == state.current.position {
                break;
            }
            events.iter().for_each(|event| state.current.history.add(event));
            state.current.position = next;
        }
        if state.current.position.0 - state.offered.0 >= SNAPSHOT_EVERY_BYTES {
            state.offered = state.current.position;
            // Without a snapshot the next start reads more, and that is all.
            if let Err(error) = self.log.offer(&state.current) {
                eprintln!("visits: no snapshot was written: {error}");
            }
        }
        Ok(state)
    }
}

fn unavailable(error: &io::Error) -> Answer {
    eprintln!("visits: the log cannot be used: {error}");
    Answer::text(503, "The visits cannot be counted at the moment.\n")
}

#[cfg(test)]
#[path = "visits_tests.rs"]
mod tests;
