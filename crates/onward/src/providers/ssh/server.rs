//! One server: its way, which connects when somebody wants to speak to its agent.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::{Digest, ServerName};
use onward_server::build::Build;
use onward_server::client::{Client, ClientError, Dial, NO_USE};
use onward_server::protocol::Hello;

use super::connection::{Connection, IfBare};
use super::error::SshError;
use super::invocation::{self, Invocation, Trust};
use super::knock::knock;
use super::pins::{Pins, fingerprint};
use crate::project::Reach;

/// The pause before a server that could not be reached is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a greeting holds: the steps of a command do not greet an agent again and again. What
/// becomes of it after that its next answer shows.
const GREETING_HOLDS: Duration = Duration::from_secs(1);

/// How long an agent may be gone: systemd starts one again that died.
const STARTS_AGAIN_WITHIN: Duration = Duration::from_secs(2);
/// The pause before an agent that is gone is greeted again.
const ABSENCE_PAUSE: Duration = Duration::from_millis(50);

/// A server that is reached over SSH. Clones share one connection.
#[derive(Debug, Clone)]
pub struct SshServer {
    way: Arc<Way>,
}

/// The way to a server.
struct Way {
    name: ServerName,
    place: Mutex<Place>,
    pins: Pins,
    /// What [`Dial::place`] lends.
    words: PathBuf,
    state: Mutex<State>,
    attempts: AtomicU32,
    /// Bundles that the server was seen to have.
    held: Mutex<BTreeSet<Digest>>,
    /// Whether nobody waits for one that does not answer.
    looks_only: AtomicBool,
}

/// Where a server is.
#[derive(Debug, Clone)]
struct Place {
    reach: Reach,
    /// A key to log in with, when it is not the person's own.
    identity: Option<PathBuf>,
}

impl Place {
    /// As people call it: `root@203.0.113.7`.
    fn words(&self) -> String {
        match &self.reach.user {
            Some(user) => format!("{user}@{}", self.reach.address),
            None => self.reach.address.clone(),
        }
    }
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Why the last attempt failed, when it did so for good: it is not made again by this command.
    hopeless: Option<SshError>,
    /// When and why the last attempt failed that may be made again.
    failed: Option<(Instant, SshError)>,
    /// When the agent said last who it is, over this connection.
    greeted: Option<(Instant, Hello)>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SshServer {
    /// A server, by its name in documents. `identity` is a key to log in with, when it is not the
    /// person's own. Nothing is connected before somebody speaks to it.
    pub fn new(name: ServerName, reach: Reach, identity: Option<PathBuf>, pins: Pins) -> Self {
        let words = PathBuf::from(name.as_str());
        let place = Mutex::new(Place { reach, identity });
        let way = Way {
            name,
            place,
            pins,
            words,
            state: Mutex::default(),
            attempts: AtomicU32::new(0),
            held: Mutex::default(),
            looks_only: AtomicBool::new(false),
        };
        Self { way: Arc::new(way) }
    }

    /// The same server, over another connection, which is made when somebody speaks to it.
    #[must_use]
    pub fn anew(&self) -> Self {
        let Place { reach, identity } = self.way.place();
        Self::new(self.way.name.clone(), reach, identity, self.way.pins.clone())
    }

    /// Its name in documents.
    pub fn name(&self) -> &ServerName {
        &self.way.name
    }

    /// How it is reached.
    pub fn reach(&self) -> Reach {
        self.way.place().reach
    }

    /// It is somewhere else from now on: it was made just now.
    pub fn is_at(&self, reach: Reach, identity: Option<PathBuf>) {
        *locked(&self.way.place) = Place { reach, identity };
        *locked(&self.way.state) = State::default();
    }

    /// The host that the address means: of a `Host` of the person's configuration, its `HostName`.
    pub fn host(&self) -> String {
        let address = self.reach().address;
        if address.parse::<IpAddr>().is_ok() {
            return address;
        }
        said_by_ssh(&address, "hostname ").unwrap_or(address)
    }

    /// The account that one signs in as: the one of the project file, else the one of the person's
    /// configuration.
    pub fn login(&self) -> String {
        let Reach { address, user, .. } = self.reach();
        user.or_else(|| said_by_ssh(&address, "user ")).unwrap_or_else(|| "root".to_owned())
    }

    /// How people call its place: `root@203.0.113.7`.
    pub fn place(&self) -> String {
        self.way.place().words()
    }

    /// A way for clients and links.
    pub fn dial(&self) -> Arc<dyn Dial> {
        Arc::clone(&self.way) as Arc<dyn Dial>
    }

    /// Keeps that the server has a bundle.
    pub fn holds(&self, bundle: Digest) {
        locked(&self.way.held).insert(bundle);
    }

    /// Whether the server was seen to have a bundle.
    pub(super) fn is_known_to_hold(&self, bundle: Digest) -> bool {
        locked(&self.way.held).contains(&bundle)
    }

    /// From now on one that does not take a connection soon is not reached, and not tried again: for
    /// commands that look.
    pub fn only_looks(&self) {
        self.way.looks_only.store(true, Ordering::Relaxed);
    }

    /// The host key that is pinned.
    pub fn pin(&self) -> Option<String> {
        self.way.pin()
    }

    /// Confirms a host key, `KIND BASE64`: from now on the server has to show it.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn confirm(&self, key: &str) -> io::Result<()> {
        self.way.pins.set(&self.way.name, key)?;
        locked(&self.way.state).hopeless = None;
        Ok(())
    }

    /// Connects unless that is so already; puts onward on a server that has none.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn set_up(&self) -> Result<(), SshError> {
        self.way.connection(IfBare::Install).map(drop)
    }

    /// Sends this onward to the server, whose agent and proxy are replaced by its own, and connects
    /// to that agent.
    ///
    /// # Errors
    /// [`SshError`].
    pub fn replace_onward(&self) -> Result<(), SshError> {
        let connection = self.way.open(IfBare::Replace)?;
        let connection = Some(Arc::new(connection));
        *locked(&self.way.state) = State { connection, ..State::default() };
        Ok(())
    }

    /// The build of this command.
    ///
    /// # Errors
    /// When its executable cannot be read.
    pub fn build(&self) -> io::Result<Build> {
        Build::of_this(self.way.pins.directory()?)
    }

    /// Connects unless that is so already.
    ///
    /// # Errors
    /// [`SshError`]; [`SshError::Bare`] when onward is not there.
    pub fn connect(&self) -> Result<(), SshError> {
        self.way.connection(IfBare::Tell).map(drop)
    }

    /// Who the agent was when it was greeted last, without asking anybody.
    pub fn last_greeting(&self) -> Option<Hello> {
        locked(&self.way.state).greeted.as_ref().map(|(_, hello)| hello.clone())
    }

    /// The agent, and who it was a moment ago.
    ///
    /// # Errors
    /// As [`Self::agent`].
    pub fn known_agent(&self) -> Result<(Client, Hello), AgentSilence> {
        let greeted = locked(&self.way.state).greeted.clone();
        match greeted.filter(|(when, _)| when.elapsed() < GREETING_HOLDS) {
            Some((_, hello)) => {
                let client = Client::over(&self.dial()).map_err(AgentSilence::Agent)?;
                Ok((client, hello))
            }
            None => self.agent(),
        }
    }

    /// The agent, and who it is. One that is gone is waited for, as long as it takes to be started
    /// again.
    ///
    /// # Errors
    /// Why it cannot be spoken to.
    pub fn agent(&self) -> Result<(Client, Hello), AgentSilence> {
        let began = Instant::now();
        loop {
            self.connect().map_err(AgentSilence::Ssh)?;
            match self.greeted() {
                Err(error) if error.is_absence() && began.elapsed() < STARTS_AGAIN_WITHIN => {
                    thread::sleep(ABSENCE_PAUSE);
                }
                greeted => return greeted.map_err(AgentSilence::Agent),
            }
        }
    }

    fn greeted(&self) -> Result<(Client, Hello), ClientError> {
        let mut client = Client::over(&self.dial())?;
        let asked = Instant::now();
        let hello = client.hello()?;
        locked(&self.way.state).greeted = Some((asked, hello.clone()));
        Ok((client, hello))
    }

    /// `ssh` to the server, for a person: with the same pin, and the same configuration, as onward's
    /// own connections.
    pub fn shell(&self, in_terminal: bool, line: Option<&str>) -> Command {
        let Place { reach, identity } = self.way.place();
        let pinned = self.way.pin().filter(|pin| self.way.pins.set(&self.way.name, pin).is_ok());
        let trust =
            pinned.map_or(Trust::Own, |_| Trust::Pinned(self.way.pins.file(&self.way.name)));
        let identity = identity.as_deref();
        let invocation = Invocation { reach: &reach, identity, trust, shown: None };
        invocation.shell(in_terminal, line)
    }

    /// `ssh` that runs the onward of the server there, as root, with these words behind it.
    pub fn onward(&self, words: &str) -> Command {
        self.shell(false, Some(&invocation::onward(words)))
    }

    /// Nobody waits for it again in this command: it is dead, for this reason.
    pub fn give_up(&self, reason: SshError) {
        *locked(&self.way.state) = State { hopeless: Some(reason), ..State::default() };
    }
}

/// Why an agent behind SSH cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum AgentSilence {
    /// There is no connection.
    #[error(transparent)]
    Ssh(SshError),
    /// The server is there, and its agent is not.
    #[error(transparent)]
    Agent(ClientError),
}

impl AgentSilence {
    /// The same as an error of whoever wanted to speak to the agent.
    pub fn into_client_error(self) -> ClientError {
        match self {
            Self::Ssh(error) => ClientError::Lost(io::Error::other(error)),
            Self::Agent(error) => error,
        }
    }
}

impl Way {
    fn place(&self) -> Place {
        locked(&self.place).clone()
    }

    fn pin(&self) -> Option<String> {
        let given = self.place().reach.host_key.as_ref().map(|key| key.as_str().to_owned());
        given.or_else(|| self.pins.get(&self.name))
    }

    /// The connection that there is, or a new one. Others wait while it is made, and learn how that
    /// ended: none of them makes the same attempt again, nor does anybody for a while.
    fn connection(&self, if_bare: IfBare) -> Result<Arc<Connection>, SshError> {
        let asked = Instant::now();
        let mut state = locked(&self.state);
        if let Some(connection) = state.connection.as_ref().filter(|own| !own.is_over()) {
            return Ok(Arc::clone(connection));
        }
        if let Some(error) = &state.hopeless
            && !(if_bare == IfBare::Install && matches!(error, SshError::Bare))
        {
            return Err(error.clone());
        }
        if let Some((_, error)) =
            state.failed.as_ref().filter(|(when, _)| *when + AGAIN_AFTER > asked)
        {
            return Err(error.clone());
        }
        match self.open(if_bare) {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let own = Some(Arc::clone(&connection));
                *state = State { connection: own, ..State::default() };
                Ok(connection)
            }
            Err(error) => {
                if error.may_pass() && !self.looks_only.load(Ordering::Relaxed) {
                    state.failed = Some((Instant::now(), error.clone()));
                } else {
                    state.hopeless = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    fn open(&self, if_bare: IfBare) -> Result<Connection, SshError> {
        let here = |error: io::Error| SshError::here(&error);
        self.pins.directory().map_err(here)?;
        let Some(pin) = self.pin() else {
            return self.open_unpinned(if_bare);
        };
        self.pins.set(&self.name, &pin).map_err(here)?;
        let trust = Trust::Pinned(self.pins.file(&self.name));
        match self.call(trust.clone(), None, if_bare) {
            Err(SshError::Refused { said }) if unverified(&said) => {
                // Which key it shows instead is asked for with a second call.
                let (_, shown) = self.recorded(trust, IfBare::Tell);
                let found = shown.map_or_else(|| "none".to_owned(), |key| fingerprint(&key));
                Err(SshError::ChangedKey { pinned: fingerprint(&pin), found })
            }
            other => other,
        }
    }

    /// Connects to a server without a pin. The person's own `known_hosts` may vouch for it; it is
    /// pinned then.
    fn open_unpinned(&self, if_bare: IfBare) -> Result<Connection, SshError> {
        match self.recorded(Trust::Own, if_bare) {
            (Err(SshError::Refused { said }), Some(key)) if unverified(&said) => {
                Err(SshError::UnknownKey { fingerprint: fingerprint(&key), key })
            }
            (Ok(connection), Some(key)) => {
                self.pins.set(&self.name, &key).map_err(|error| SshError::here(&error))?;
                Ok(connection)
            }
            (opened, _) => opened,
        }
    }

    /// Connects, and returns the key that the server showed.
    fn recorded(
        &self,
        trust: Trust,
        if_bare: IfBare,
    ) -> (Result<Connection, SshError>, Option<String>) {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let attempt = format!("{}-{attempt}", std::process::id());
        let shown = self.pins.shown(&self.name, &attempt);
        let opened = self.call(trust, Some(&shown), if_bare);
        let key = fs::read_to_string(&shown).ok();
        // It has been read.
        let _ = fs::remove_file(&shown);
        (opened, key.as_deref().and_then(|text| text.lines().last()).map(str::to_owned))
    }

    fn call(
        &self,
        trust: Trust,
        shown: Option<&Path>,
        if_bare: IfBare,
    ) -> Result<Connection, SshError> {
        let onward = std::env::current_exe().map_err(|error| SshError::here(&error))?;
        let Place { reach, identity } = self.place();
        let invocation = Invocation {
            reach: &reach,
            identity: identity.as_deref(),
            trust,
            shown: shown.map(|shown| (shown, onward.as_path())),
        };
        if self.looks_only.load(Ordering::Relaxed) {
            knock(&mut invocation.asked())?;
        }
        Connection::open(&invocation, &self.name, &self.pins, if_bare)
    }
}

/// What `ssh` makes of an address: the value of a keyword, which ends with a space.
fn said_by_ssh(address: &str, keyword: &str) -> Option<String> {
    let out = Command::new("ssh").args(["-G", "--", address]).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(keyword))?;
    Some(value.trim().to_owned())
}

/// Whether `ssh` ended because of the host key, and not because of what came after it.
fn unverified(said: &[String]) -> bool {
    said.iter().any(|line| line.contains("Host key verification failed"))
}

impl Dial for Way {
    fn dial(&self) -> io::Result<UnixStream> {
        let connection = self.connection(IfBare::Tell).map_err(|error| {
            let is_hopeless = locked(&self.state).hopeless.is_some();
            let kind = if is_hopeless { NO_USE } else { io::ErrorKind::Other };
            io::Error::new(kind, error)
        })?;
        connection.dial()
    }

    fn place(&self) -> &Path {
        &self.words
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
