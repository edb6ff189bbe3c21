//! Lines that are drawn over while something runs, with the time that has passed.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::numbers;
use super::screen;

/// How often the time is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// How many shows may wait to be drawn: the drawer is far faster than the agent reports.
const SHOWS_WAITING: usize = 16;

/// The lines of one run. They are taken away when this is dropped.
#[derive(Debug)]
pub struct Live {
    shows: Option<SyncSender<Show>>,
    drawer: Option<JoinHandle<()>>,
}

/// What is drawn until the next one comes.
#[derive(Debug)]
struct Show {
    headline: String,
    since: Instant,
    lines: Vec<String>,
}

impl Show {
    fn drawn(&self) -> Vec<String> {
        let time = numbers::duration(self.since.elapsed());
        let mut lines = vec![format!("  {} ({time})", self.headline)];
        lines.extend(self.lines.iter().cloned());
        lines
    }
}

impl Live {
    /// Begins; nothing is drawn before the first [`Live::show`].
    pub fn start() -> Self {
        let (shows, shown) = mpsc::sync_channel::<Show>(SHOWS_WAITING);
        let drawer = thread::spawn(move || {
            let (mut current, mut drawn) = (None, 0);
            loop {
                match shown.recv_timeout(REDRAW) {
                    Ok(next) => current = Some(next),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if let Some(show) = &current {
                    drawn = screen::redraw(drawn, &show.drawn());
                }
            }
            screen::redraw(drawn, &[]);
        });
        Self { shows: Some(shows), drawer: Some(drawer) }
    }

    /// Replaces the lines. The time that has passed `since` is put behind the headline.
    pub fn show(&self, headline: String, since: Instant, lines: Vec<String>) {
        if let Some(shows) = &self.shows {
            let _ = shows.send(Show { headline, since, lines });
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shows = None;
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}
