//! Making one machine what it shall be, and coming back to it to confirm what could have locked us
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::machine::{Change, Event, Question, Setup, Stage, Token};
use onward_core::model::ServerName;
use onward_server::client::ClientError;

use crate::providers::ssh::{AgentSilence, SshServer};

/// The pause between two tries to come back: sshd reads its configuration, and for a moment nobody
/// listens.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether somebody still waits.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Told what goes on, with the server's name.
pub type Telling<'a> = dyn Fn(&ServerName, &Event) + 'a;

/// How a machine took its set-up.
#[derive(Debug)]
pub enum Converged {
    /// It is what it shall be; so many changes were made.
    Done(usize),
    /// All that has to be is; what would be better could not be made: each as a sentence, with its
    /// reason.
    Partly(Vec<(String, String)>),
    /// It is not, and this is why.
    Trouble(Trouble),
}

/// Why a machine is not what it shall be.
#[derive(Debug)]
pub enum Trouble {
    /// There is no connection to its agent, or none any more. What was begun goes on there; what could
    /// lock out is undone unless it is confirmed.
    Lost(AgentSilence),
    /// It has questions that were not there when it was looked at. Nothing was changed.
    Asks(Vec<Question>),
    /// What could have locked out was taken back, and why nobody came back to confirm it.
    Undone {
        /// As the server says it.
        text: String,
        /// Why the last new connection was not made, when that was it.
        no_way_in: Option<String>,
    },
    /// Some changes could not be made: each as a sentence, with its reason. The others are made.
    Failed(Vec<(String, String)>),
    /// Nobody waits for it any more: the person stopped the command.
    Left,
}

impl Trouble {
    /// What happened, as sentences.
    pub fn sentences(&self) -> Vec<String> {
        match self {
            Self::Lost(reason) => vec![
                format!("it {reason}"),
                "what was begun there goes on; the same command again says what became of it"
                    .to_owned(),
            ],
            Self::Asks(questions) => {
                questions.iter().map(|question| question.text.clone()).collect()
            }
            Self::Undone { text, no_way_in } => {
                let mut all = vec![format!("the server took the changes back: {text}")];
                all.extend(no_way_in.iter().map(|why| format!("with them, it {why}")));
                all
            }
            Self::Left => vec![
                "what was begun there goes on; what could lock out is taken back there, unless it was \
                 confirmed"
                    .to_owned(),
            ],
            Self::Failed(failed) => {
                failed.iter().map(|(what, why)| format!("{what}: {why}")).collect()
            }
        }
    }
}

/// One machine's part of the work. It says what goes on there, and returns what came of it.
pub(super) type Work = Box<dyn FnOnce(&dyn Fn(Event)) -> Converged + Send>;

/// What comes from the one who works on a machine.
enum Said {
    Event(Event),
    End(Converged),
}

/// Does all the work at once and says what came of each, at the latest a moment after `stops` says so:
/// what is not done then is [left](Trouble::Left), and goes on there.
pub(super) fn all(
    works: Vec<(ServerName, Work)>,
    tell: &Telling<'_>,
    stops: &dyn Fn() -> bool,
) -> BTreeMap<ServerName, Converged> {
    let (sender, said) = mpsc::channel();
    let mut left = BTreeSet::new();
    for (name, work) in works {
        left.insert(name.clone());
        let sender = sender.clone();
        // Whoever waits for nobody any more does not hear the rest.
        thread::spawn(move || {
            let end = work(&|event| drop(sender.send((name.clone(), Said::Event(event)))));
            let _ = sender.send((name, Said::End(end)));
        });
    }
    drop(sender);
    let mut ended = BTreeMap::new();
    while !left.is_empty() && !stops() {
        match said.recv_timeout(LOOK_EVERY) {
            Ok((name, Said::Event(event))) => tell(&name, &event),
            Ok((name, Said::End(end))) => {
                left.remove(&name);
                ended.insert(name, end);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("each says how it ends"),
        }
    }
    ended.extend(left.into_iter().map(|name| (name, Converged::Trouble(Trouble::Left))));
    ended
}

/// Makes one machine what it shall be.
pub(super) fn converge(server: &SshServer, setup: &Setup, tell: &dyn Fn(Event)) -> Converged {
    let mut course = Course::default();
    let result = server.agent().and_then(|(mut client, _)| {
        let each = |event: Event| {
            tell(event.clone());
            course.take(server, event);
        };
        client.set_up(setup, each).map_err(AgentSilence::Agent)
    });
    match result {
        Ok(true) => Converged::Done(course.changed),
        Ok(false) if course.is_good_enough() => Converged::Partly(course.failed),
        Ok(false) => Converged::Trouble(course.trouble()),
        Err(reason) => Converged::Trouble(Trouble::Lost(reason)),
    }
}

/// What a set-up has said so far.
#[derive(Default)]
struct Course {
    changes: Vec<Change>,
    changed: usize,
    asked: Vec<Question>,
    failed: Vec<(String, String)>,
    /// One of those that failed was needed by others.
    is_stopped: bool,
    undone: Option<String>,
    no_way_in: Option<String>,
}

impl Course {
    fn take(&mut self, server: &SshServer, event: Event) {
        match event {
            Event::Planned { changes, .. } => self.changes = changes,
            Event::Asks { questions } => self.asked = questions,
            Event::Failed { change, text } => {
                let change = self.changes.get(change);
                self.is_stopped |= change.is_none_or(|change| change.stage != Stage::Last);
                let what = change.map(|change| change.sentence.clone()).unwrap_or_default();
                self.failed.push((what, text));
            }
            Event::Confirm { token, within_s } => {
                self.no_way_in = come_back(server, &token, within_s).err();
            }
            Event::Undone { text } => self.undone = Some(text),
            Event::Finished { changed, .. } => self.changed = changed,
            Event::Begun { .. } | Event::Says { .. } | Event::Made { .. } | Event::Confirmed => {}
        }
    }

    /// Whether only changes failed after which nothing else had to come.
    fn is_good_enough(&self) -> bool {
        self.asked.is_empty()
            && self.undone.is_none()
            && !self.failed.is_empty()
            && !self.is_stopped
    }

    fn trouble(self) -> Trouble {
        if !self.asked.is_empty() {
            return Trouble::Asks(self.asked);
        }
        match self.undone {
            Some(text) if self.failed.is_empty() => {
                Trouble::Undone { text, no_way_in: self.no_way_in }
            }
            _ => Trouble::Failed(self.failed),
        }
    }
}

/// Confirms over a new connection, tried until the server gives up waiting. Why not, when it was not
/// confirmed.
fn come_back(server: &SshServer, token: &Token, within_s: u32) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(within_s.into());
    let mut last = "was reached over a new connection too late".to_owned();
    loop {
        // A connection that failed for good is not tried again by the same one.
        let again = server.anew();
        let confirmed = again
            .agent()
            .and_then(|(mut client, _)| client.confirm_set_up(token).map_err(AgentSilence::Agent));
        match confirmed {
            Ok(()) => return Ok(()),
            // It was undone already.
            Err(AgentSilence::Agent(ClientError::Refused(_))) => return Err(last),
            Err(reason) if Instant::now() >= end => return Err(reason.to_string()),
            Err(reason) => last = reason.to_string(),
        }
        thread::sleep(TRY_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn name(text: &str) -> ServerName {
        text.parse().unwrap()
    }

    #[test]
    fn who_stops_waits_for_no_machine_and_hears_what_was_done_by_then() {
        let (release, held) = mpsc::channel::<()>();
        let works: Vec<(ServerName, Work)> = vec![
            (
                name("one"),
                Box::new(|tell| {
                    tell(Event::Confirmed);
                    Converged::Done(3)
                }),
            ),
            (
                name("two"),
                Box::new(move |tell| {
                    tell(Event::Says { line: "packages".to_owned() });
                    // As a program that installs them.
                    let _ = held.recv();
                    Converged::Done(1)
                }),
            ),
        ];
        let (done, installs) = (AtomicBool::new(false), AtomicBool::new(false));
        let tell = |_: &ServerName, event: &Event| match event {
            Event::Says { .. } => installs.store(true, Ordering::Relaxed),
            _ => done.store(true, Ordering::Relaxed),
        };
        let looks = std::cell::Cell::new(0);
        let stops = || {
            let both = done.load(Ordering::Relaxed) && installs.load(Ordering::Relaxed);
            // Its end comes right after its last word.
            looks.set(looks.get() + u32::from(both));
            looks.get() > 2
        };
        let ended = all(works, &tell, &stops);
        assert!(matches!(ended[&name("one")], Converged::Done(3)), "{ended:?}");
        assert!(matches!(ended[&name("two")], Converged::Trouble(Trouble::Left)), "{ended:?}");
        drop(release);
    }

    #[test]
    fn without_a_stop_all_are_waited_for() {
        let works: Vec<(ServerName, Work)> = ["one", "two"]
            .map(|own| (name(own), Box::new(|_: &dyn Fn(Event)| Converged::Done(1)) as Work))
            .into();
        let ended = all(works, &|_, _| {}, &|| false);
        assert!(ended.values().all(|own| matches!(own, Converged::Done(1))), "{ended:?}");
        assert_eq!(ended.len(), 2);
    }
}
