//! Sees to it that somebody carries on what is recorded in the documents that this server keeps.
//!
//! Whoever wrote a document last is expected to carry it on, for as long as the connection stands
//! over which it was written. When that ends, and nobody has said that all servers follow, a process
//! `agent carry` does it: at once, without a lock and without a clock. It also waits there for
//! servers that cannot be reached, and ends when all of them follow.
//!
//! ```text
//!  State requests ──► serve ──► Word ──► Carrying ──► agent carry ──► agents of the servers
//!                                           ▲              │
//!                                           └── its end ───┘
//! ```
//!
//! The same process renews certificates. When one is due follows from the document, and a timer
//! waits for that moment.
//!
//! It saves work and time and promises nothing: several that carry on at once are safe, and so is
//! one too few, because every command carries on what it finds. At rest there is no process, and
//! no timer where no authority issues certificates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onward_core::document::Document;
use onward_core::model::Generation;
use onward_core::outcome::Outcome;
use onward_core::ports::StateStore;
use onward_store::state::remote::{Ask, Said};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::event::AppKey;
use super::note::note;

/// How many words may wait. Whoever speaks waits when there are more.
const WORDS_MAX: usize = 256;
/// The pause before a process that failed is started again; it doubles with each failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest such pause.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);
/// The longest time that a clock is not looked at, while a certificate is waited for: clocks are put
/// right, and machines sleep.
const LOOKS_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a writer that is there is believed to see to a certificate that is due.
const WRITER_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// One connection to the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection(u64);

impl Connection {
    /// One that nobody else is.
    pub(super) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where it is told what happens to documents.
pub(super) type Words = mpsc::Sender<Word>;

/// Something that happened to the documents.
#[derive(Debug)]
pub(super) enum Word {
    /// There is a document, and nobody is known to carry it on.
    Found(AppKey, Option<Timestamp>),
    /// A document was written.
    Wrote { app: AppKey, by: Connection, generation: Option<Generation>, due: Option<Timestamp> },
    /// Every server follows a generation.
    Settled { app: AppKey, generation: Generation },
    /// A connection is over.
    Left(Connection),
    /// A process is over; it may be begun again.
    Ended { app: AppKey, is_good: bool },
    /// A certificate is due, if nothing has changed since the moment was chosen.
    Due { app: AppKey, at: Timestamp },
    /// The pause after a failure is over.
    Again(AppKey),
}

impl Word {
    /// What a request about a document means, when it was answered.
    pub(super) fn of(
        app: &AppKey,
        by: Connection,
        asked: &Asked,
        said: &Said,
        store: &impl StateStore,
    ) -> Option<Self> {
        let app = app.clone();
        match asked {
            Asked::Settled(generation) => Some(Self::Settled { app, generation: *generation }),
            Asked::Write => {
                let (generation, due) = match said {
                    Said::Written(Outcome::Done(stored)) => {
                        (Some(stored.document.generation), due(&stored.document))
                    }
                    // It may have been written all the same.
                    Said::Written(Outcome::Unknown(_)) | Said::Swapped(Outcome::Done(())) => {
                        (None, due_in(store))
                    }
                    _ => return None,
                };
                Some(Self::Wrote { app, by, generation, due })
            }
            Asked::Other => None,
        }
    }
}

/// When something about the certificates of a document is due.
fn due(document: &Document) -> Option<Timestamp> {
    document.https.as_ref()?.next_due(&document.https_names())
}

/// The same of the document in a store. One that cannot be read is told by who carries it on.
pub(super) fn due_in(store: &impl StateStore) -> Option<Timestamp> {
    due(&store.read().ok()??.document)
}

/// What matters here of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Write,
    Settled(Generation),
    Other,
}

impl Asked {
    pub(super) const fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Write { .. } | Ask::Settle { .. } | Ask::SwapHead { .. } => Self::Write,
            Ask::Settled(generation) => Self::Settled(*generation),
            _ => Self::Other,
        }
    }
}

/// What has to be known to start a process that carries on.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What starts units: `systemd-run`.
    pub(super) runner: PathBuf,
    pub(super) program: PathBuf,
    pub(super) root: PathBuf,
    pub(super) runtime: PathBuf,
}

/// What is known of one document.
#[derive(Debug, Default)]
struct Known {
    /// Who wrote it last, and is there.
    writer: Option<Connection>,
    /// Its generation, when that is known.
    generation: Option<Generation>,
    /// The generation that every server is known to follow.
    settled: Option<Generation>,
    /// The process that carries it on, by its standard input: a line makes it look again, the end of
    /// it ends the process.
    carrier: Option<ChildStdin>,
    /// Whether it was told to look again, which it may have missed at its end.
    called: bool,
    failures: u32,
    /// When a certificate is due, and the timer that waits for it.
    due: Option<(Timestamp, AbortHandle)>,
}

impl Known {
    fn is_settled(&self) -> bool {
        self.generation.is_some() && self.settled == self.generation
    }

    fn is_due(&self) -> bool {
        self.due.as_ref().is_some_and(|(at, _)| *at <= Timestamp::now())
    }
}

/// Begins to look after the documents, of which these are there.
pub(super) fn begin(place: Place, found: Vec<(AppKey, Option<Timestamp>)>) -> Words {
    let (words, heard) = mpsc::channel(WORDS_MAX);
    let own = Carrying { place, words: words.clone(), all: BTreeMap::new() };
    tokio::spawn(own.run(found, heard));
    words
}

struct Carrying {
    place: Place,
    words: Words,
    all: BTreeMap<AppKey, Known>,
}

impl Carrying {
    async fn run(
        mut self,
        found: Vec<(AppKey, Option<Timestamp>)>,
        mut heard: mpsc::Receiver<Word>,
    ) {
        for (app, due) in found {
            self.hear(Word::Found(app, due)).await;
        }
        while let Some(word) = heard.recv().await {
            self.hear(word).await;
        }
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Found(app, due) => {
                self.expect(&app, due);
                self.carry(app).await;
            }
            Word::Again(app) => self.carry(app).await,
            Word::Due { app, at } => {
                let known = self.all.entry(app.clone()).or_default();
                let is_so = known.due.as_ref().is_some_and(|(own, _)| *own == at);
                match (is_so, known.writer.is_some()) {
                    (false, _) => {}
                    (true, false) => self.carry(app).await,
                    // Whoever is there, and wrote that it is due, is at it; not for ever.
                    (true, true) => self.wait(app, at, Timestamp::now() + WRITER_WITHIN),
                }
            }
            Word::Wrote { app, by, generation, due } => {
                self.expect(&app, due);
                let known = self.all.entry(app).or_default();
                (known.writer, known.generation) = (Some(by), generation);
            }
            Word::Settled { app, generation } => {
                let known = self.all.entry(app).or_default();
                known.settled = Some(generation);
                known.generation.get_or_insert(generation);
            }
            Word::Left(connection) => {
                for app in self.left_by(connection) {
                    self.carry(app).await;
                }
            }
            Word::Ended { app, is_good } => self.ended(app, is_good).await,
        }
    }

    /// The documents that a connection leaves, and that are not settled.
    fn left_by(&mut self, connection: Connection) -> Vec<AppKey> {
        let mut left = Vec::new();
        for (app, known) in &mut self.all {
            if known.writer == Some(connection) {
                known.writer = None;
                if !known.is_settled() || known.is_due() {
                    left.push(app.clone());
                }
            }
        }
        left
    }

    /// Waits for the moment at which a certificate is due, and for no other any more.
    fn expect(&mut self, app: &AppKey, due: Option<Timestamp>) {
        let known = self.all.entry(app.clone()).or_default();
        if known.due.as_ref().map(|(at, _)| *at) == due {
            return;
        }
        if let Some((_, waiting)) = known.due.take() {
            waiting.abort();
        }
        if let Some(at) = due {
            self.wait(app.clone(), at, at);
        }
    }

    /// Says at `until` that a certificate is due since `at`.
    fn wait(&mut self, app: AppKey, at: Timestamp, until: Timestamp) {
        let known = self.all.entry(app.clone()).or_default();
        let words = self.words.clone();
        let waiting = tokio::spawn(async move {
            // The difference is negative once the moment is over, which is no duration.
            while let Ok(left) = Duration::try_from(until.duration_since(Timestamp::now()))
                && !left.is_zero()
            {
                tokio::time::sleep(left.min(LOOKS_AFTER_MAX)).await;
            }
            let _ = words.send(Word::Due { app, at }).await;
        });
        known.due = Some((at, waiting.abort_handle()));
    }

    /// Starts the process that carries on, or tells the one that there is to look again.
    async fn carry(&mut self, app: AppKey) {
        let known = self.all.entry(app.clone()).or_default();
        if let Some(carrier) = &mut known.carrier
            && carrier.write_all(b"\n").await.is_ok()
        {
            known.called = true;
            return;
        }
        known.called = false;
        match started(&self.place, &app) {
            Ok((child, stdin)) => {
                known.carrier = Some(stdin);
                tokio::spawn(await_end(child, app, self.words.clone()));
            }
            Err(error) => {
                note(format_args!("{}/{} cannot be carried on: {error}", app.0, app.1));
                self.again_later(app);
            }
        }
    }

    async fn ended(&mut self, app: AppKey, is_good: bool) {
        let known = self.all.entry(app.clone()).or_default();
        known.carrier = None;
        if !is_good {
            self.again_later(app);
            return;
        }
        known.failures = 0;
        // Somebody may have written and left while it ended, or something became due.
        let is_left = !known.is_settled() || known.is_due();
        if known.called && known.writer.is_none() && is_left {
            self.carry(app).await;
        }
    }

    fn again_later(&mut self, app: AppKey) {
        let known = self.all.entry(app.clone()).or_default();
        let pause = AGAIN_AFTER.saturating_mul(1 << known.failures.min(10)).min(AGAIN_AFTER_MAX);
        known.failures += 1;
        let words = self.words.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // An agent that is ending does not listen any more.
            let _ = words.send(Word::Again(app)).await;
        });
    }
}

/// What the process is kept from. It goes to other servers, which the agent may not.
const HARDENING: [&str; 12] = [
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "ProtectHome=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "ProtectSystem=strict",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "TasksMax=1024",
];

/// Starts it as a unit of its own, whose standard input is ours.
fn started(place: &Place, (app, environment): &AppKey) -> std::io::Result<(Child, ChildStdin)> {
    let mut command = Command::new(&place.runner);
    command.args(["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"]);
    command.arg(format!("--description=onward: carries {app}/{environment} on"));
    command.args(HARDENING.map(|line| format!("--property={line}")));
    for path in [&place.root, &place.runtime] {
        command.arg(format!("--property=ReadWritePaths={}", path.display()));
    }
    command.arg("--").arg(&place.program).args(["agent", "carry", "--root"]).arg(&place.root);
    command.arg("--runtime").arg(&place.runtime);
    command.args(["--app", app.as_str(), "--of", environment.as_str()]);
    // What it tells goes to the journal, under the name of its unit.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let stdin = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    Ok((child, stdin))
}

async fn await_end(mut child: Child, app: AppKey, words: Words) {
    let is_good = child.wait().await.is_ok_and(|status| status.success());
    let _ = words.send(Word::Ended { app, is_good }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrying(runner: &str) -> (Carrying, AppKey) {
        let app = ("shop".parse().expect("a name"), "lab".parse().expect("a name"));
        let [program, root, runtime] = ["/p", "/r", "/u"].map(PathBuf::from);
        let place = Place { runner: runner.into(), program, root, runtime };
        let (words, _) = mpsc::channel(WORDS_MAX);
        (Carrying { place, words, all: BTreeMap::new() }, app)
    }

    fn wrote(app: &AppKey, by: u64, generation: u64) -> Word {
        let (app, by) = (app.clone(), Connection(by));
        Word::Wrote { app, by, generation: Some(Generation(generation)), due: None }
    }

    #[tokio::test]
    async fn what_its_writer_left_is_carried_on() {
        let (mut own, app) = carrying("cat");
        own.hear(wrote(&app, 1, 7)).await;
        assert!(own.all[&app].carrier.is_none(), "its writer is there");
        own.hear(Word::Left(Connection(2))).await;
        assert!(own.all[&app].carrier.is_none(), "another one left");
        own.hear(Word::Left(Connection(1))).await;
        assert!(own.all[&app].carrier.is_some());
    }

    #[tokio::test]
    async fn what_every_server_follows_is_left_alone() {
        let (mut own, app) = carrying("cat");
        own.hear(wrote(&app, 1, 7)).await;
        own.hear(Word::Settled { app: app.clone(), generation: Generation(7) }).await;
        own.hear(Word::Left(Connection(1))).await;
        assert!(own.all[&app].carrier.is_none());
        // What was written later is not.
        own.hear(wrote(&app, 3, 8)).await;
        own.hear(Word::Left(Connection(3))).await;
        assert!(own.all[&app].carrier.is_some());
    }

    #[tokio::test]
    async fn a_certificate_that_is_due_is_renewed_once_nobody_is_at_it() {
        let (mut own, app) = carrying("cat");
        let past = Timestamp::UNIX_EPOCH;
        let later = Timestamp::now() + SignedDuration::from_hours(9);
        let wrote = |due| {
            let (app, by, generation) = (app.clone(), Connection(1), Some(Generation(7)));
            Word::Wrote { app, by, generation, due: Some(due) }
        };
        own.hear(wrote(past)).await;
        own.hear(Word::Settled { app: app.clone(), generation: Generation(7) }).await;
        own.hear(Word::Due { app: app.clone(), at: past }).await;
        assert!(own.all[&app].carrier.is_none(), "its writer is there");
        assert!(own.all[&app].is_due(), "and is not waited for for ever");
        own.hear(wrote(later)).await;
        own.hear(Word::Left(Connection(1))).await;
        assert!(own.all[&app].carrier.is_none(), "it is not due yet");
        own.hear(Word::Due { app: app.clone(), at: past }).await;
        assert!(own.all[&app].carrier.is_none(), "it is another moment now");
        own.hear(Word::Due { app: app.clone(), at: later }).await;
        assert!(own.all[&app].carrier.is_some());
    }

    #[tokio::test]
    async fn a_certificate_that_its_writer_left_is_renewed() {
        let (mut own, app) = carrying("cat");
        let (by, generation) = (Connection(1), Some(Generation(7)));
        let due = Some(Timestamp::UNIX_EPOCH);
        own.hear(Word::Wrote { app: app.clone(), by, generation, due }).await;
        own.hear(Word::Settled { app: app.clone(), generation: Generation(7) }).await;
        own.hear(Word::Left(by)).await;
        assert!(own.all[&app].carrier.is_some());
    }

    #[tokio::test]
    async fn a_process_that_fails_is_started_again_later_and_later() {
        let (mut own, app) = carrying("/nowhere/onward");
        own.hear(Word::Found(app.clone(), None)).await;
        assert_eq!(own.all[&app].failures, 1);
        own.hear(Word::Again(app.clone())).await;
        assert_eq!(own.all[&app].failures, 2);
        own.hear(Word::Ended { app: app.clone(), is_good: true }).await;
        assert_eq!(own.all[&app].failures, 0);
    }
}
