//! What several servers tell, as one stream in the order of its times.
//!
//! Servers whose clocks differ are put right by what their agents say that the time is. What has no
//! time comes first, server by server.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use onward_core::model::ServerName;
use onward_server::client::{Client, ClientError};

use super::complaint::Complaint;
use super::fleet;
use super::interrupt::Interrupts;
use super::screen::Screen;
use crate::providers::local::AgentError;
use crate::providers::{Server, local};

/// How many lines may wait to be printed; the agents wait meanwhile.
const LINES_WAITING: usize = 1000;
/// How often Ctrl-C is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a line is held back for those of other servers that belong before it: agents look for
/// new lines each tenth of a second.
const HELD: Duration = Duration::from_millis(150);
/// The pause before an agent is asked again that ended, or could not be reached.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Clocks that differ by less are taken for the same: the way to them takes its time, too.
const SAME_CLOCK: SignedDuration = SignedDuration::from_millis(500);

/// Told each line; whether more are wanted.
pub type Each<'a, T> = dyn FnMut(T) -> bool + 'a;

/// What is asked of each agent.
pub struct Question<T> {
    /// Asks for lines, the last ones among them when it is the first time.
    pub ask: Arc<Asking<T>>,
    /// When a line was written, by the server's clock.
    pub at: fn(&T) -> Option<Timestamp>,
}

type Asking<T> =
    dyn Fn(&mut Client, bool, &mut Each<'_, T>) -> Result<(), ClientError> + Send + Sync;

impl<T> Clone for Question<T> {
    fn clone(&self) -> Self {
        Self { ask: Arc::clone(&self.ask), at: self.at }
    }
}

impl<T> std::fmt::Debug for Question<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

/// A line of a server.
#[derive(Debug)]
pub struct Line<T> {
    /// The server.
    pub server: ServerName,
    /// When it was written, by this machine's clock.
    pub at: Option<Timestamp>,
    /// The line.
    pub what: T,
}

/// The last lines of all servers.
///
/// # Errors
/// When the only server does not answer. One of several that does not is left out, with a warning.
pub fn last<T: Send>(
    servers: &[Server],
    question: &Question<T>,
    screen: &Screen,
) -> Result<Vec<Line<T>>, Complaint> {
    let mut all = Vec::new();
    for (server, told) in servers.iter().zip(fleet::on_each(servers, |own| lines(own, question))) {
        match told {
            Ok(mut lines) => all.append(&mut lines),
            Err(Silence::Agent(error)) if servers.len() == 1 => {
                return Err(fleet::complaint(server, &error));
            }
            Err(Silence::Answer(error)) if servers.len() == 1 => return Err(error.into()),
            Err(silence) => screen.warn(&format!("{}: {}", server.name(), silence.text())),
        }
    }
    all.sort_by_key(|line| line.at);
    Ok(all)
}

fn lines<T>(server: &Server, question: &Question<T>) -> Result<Vec<Line<T>>, Silence> {
    let mut agent = server.agent().map_err(Silence::Agent)?;
    let mut lines = Vec::new();
    read(&mut agent, server, question, true, &mut |line| {
        lines.push(line);
        true
    })?;
    Ok(lines)
}

/// Goes on until Ctrl-C, also over the end of an agent: the next one is asked for what follows.
/// Returns how many lines there were.
///
/// # Errors
/// When the only server does not answer.
pub fn follow<T: Send + 'static>(
    servers: &[Server],
    question: &Question<T>,
    screen: &Screen,
    interrupts: &Interrupts,
    mut show: impl FnMut(&Line<T>),
) -> Result<u64, Complaint> {
    let (sender, news) = sync_channel(LINES_WAITING);
    for server in servers {
        let (server, question, sender) = (server.clone(), question.clone(), sender.clone());
        // It ends with the command: its connection cannot be waited for together with Ctrl-C.
        thread::spawn(move || keep_reading(&server, &question, &sender));
    }
    drop(sender);
    let mut told = 0;
    let mut held = Held { lines: Vec::new(), since: None };
    while interrupts.count() == 0 && screen.is_read() {
        match held.take(&news) {
            Some(News::Silent(server, silence)) => match silence {
                Silence::Agent(error) if servers.len() == 1 => {
                    return Err(fleet::complaint(&server, &error));
                }
                silence => screen.warn(&format!(
                    "{}: {}; it is asked again until it answers",
                    server.name(),
                    silence.text()
                )),
            },
            Some(News::Line(line)) => held.lines.push(line),
            None => {}
        }
        for line in held.ripe() {
            show(&line);
            told += 1;
        }
    }
    Ok(told)
}

/// What comes from a server.
enum News<T> {
    Line(Line<T>),
    Silent(Server, Silence),
}

/// Lines that wait for others which belong before them.
struct Held<T> {
    lines: Vec<Line<T>>,
    since: Option<Instant>,
}

impl<T> Held<T> {
    fn take(&mut self, news: &Receiver<News<T>>) -> Option<News<T>> {
        match news.recv_timeout(LOOK_EVERY) {
            Ok(news) => {
                self.since.get_or_insert_with(Instant::now);
                Some(news)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(LOOK_EVERY);
                None
            }
        }
    }

    fn ripe(&mut self) -> Vec<Line<T>> {
        if self.since.is_none_or(|since| since.elapsed() < HELD) {
            return Vec::new();
        }
        self.since = None;
        let mut lines = std::mem::take(&mut self.lines);
        lines.sort_by_key(|line| line.at);
        lines
    }
}

/// Reads from one server for as long as somebody listens.
fn keep_reading<T>(server: &Server, question: &Question<T>, sender: &SyncSender<News<T>>) {
    let (mut is_first, mut is_silent) = (true, false);
    loop {
        let mut is_heard = true;
        let told = server.agent().map_err(Silence::Agent).and_then(|mut agent| {
            is_silent = false;
            read(&mut agent, server, question, std::mem::take(&mut is_first), &mut |line| {
                is_heard = sender.send(News::Line(line)).is_ok();
                is_heard
            })
        });
        if !is_heard {
            return;
        }
        // The end of an agent is nothing to tell: the next one comes at once.
        if let Err(silence @ Silence::Agent(_)) = told
            && !std::mem::replace(&mut is_silent, true)
            && sender.send(News::Silent(server.clone(), silence)).is_err()
        {
            return;
        }
        thread::sleep(TRIED_AGAIN_AFTER);
    }
}

/// Why a server tells nothing.
enum Silence {
    /// It cannot be asked.
    Agent(AgentError),
    /// It was asked, and did not answer to the end.
    Answer(ClientError),
}

impl Silence {
    fn text(&self) -> String {
        match self {
            Self::Agent(error) => local::reason(error),
            Self::Answer(error) => error.to_string(),
        }
    }
}

fn read<T>(
    agent: &mut Client,
    server: &Server,
    question: &Question<T>,
    is_first: bool,
    each: &mut Each<'_, Line<T>>,
) -> Result<(), Silence> {
    let hello = agent.hello().map_err(Silence::Answer)?;
    let ahead = ahead(hello.clock, Timestamp::now());
    let asked = (question.ask)(agent, is_first, &mut |what| {
        let at = (question.at)(&what).map(|at| at.saturating_sub(ahead).unwrap_or(at));
        each(Line { server: server.name().clone(), at, what })
    });
    asked.map_err(Silence::Answer)
}

/// By how much a server's clock is ahead of this machine's.
fn ahead(there: Option<Timestamp>, here: Timestamp) -> SignedDuration {
    let ahead = there.map(|there| there.duration_since(here)).unwrap_or_default();
    if ahead.abs() < SAME_CLOCK { SignedDuration::ZERO } else { ahead }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_put_right_and_one_that_is_right_is_left() {
        let here: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let by = |seconds: i64| here + SignedDuration::from_secs(seconds);
        assert_eq!(ahead(Some(by(600)), here).as_secs(), 600);
        assert_eq!(ahead(Some(by(-600)), here).as_secs(), -600);
        assert_eq!(ahead(Some(here + SignedDuration::from_millis(40)), here).as_secs(), 0);
        assert_eq!(ahead(None, here), SignedDuration::ZERO);
    }

    #[test]
    fn lines_are_held_until_those_before_them_have_come() {
        let line = |name: &str, at: &str| Line {
            server: name.parse().unwrap(),
            at: at.parse().ok(),
            what: (),
        };
        let lines = vec![
            line("two", "2026-01-01T12:00:02Z"),
            line("one", "2026-01-01T12:00:01Z"),
            line("one", "2026-01-01T12:00:03Z"),
            line("two", "never"),
        ];
        let mut held = Held { lines, since: Some(Instant::now()) };
        assert!(held.ripe().is_empty(), "more may come");
        held.since = Instant::now().checked_sub(HELD);
        let names: Vec<_> = held.ripe().iter().map(|line| line.server.to_string()).collect();
        assert_eq!(names, ["two", "one", "two", "one"]);
    }
}
