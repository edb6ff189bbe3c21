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
    lines: Option<SyncSender<(String, Vec<String>)>>,
    drawer: Option<JoinHandle<()>>,
}

impl Live {
    /// Begins; nothing is drawn before the first [`Live::show`].
    pub fn start() -> Self {
        let (lines, shown) = mpsc::sync_channel::<(String, Vec<String>)>(SHOWS_WAITING);
        let drawer = thread::spawn(move || {
            let began = Instant::now();
            let (mut current, mut drawn) = (None, 0);
            loop {
                match shown.recv_timeout(REDRAW) {
                    Ok(next) => current = Some(next),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if let Some((headline, rest)) = &current {
                    let time = numbers::duration(began.elapsed());
                    let mut lines = vec![format!("  {headline} ({time})")];
                    lines.extend(rest.iter().cloned());
                    drawn = screen::redraw(drawn, &lines);
                }
            }
            screen::redraw(drawn, &[]);
        });
        Self { lines: Some(lines), drawer: Some(drawer) }
    }

    /// Replaces the lines. The time is put behind the headline.
    pub fn show(&self, headline: String, lines: Vec<String>) {
        if let Some(sender) = &self.lines {
            let _ = sender.send((headline, lines));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}
