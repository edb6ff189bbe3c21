//! Speaking to an agent over its socket. Everything here blocks, with a limit of time.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onward_core::document::Document;
use onward_core::model::{AppName, Digest, EnvironmentName};
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::Report;
use onward_core::secrets::PublicKey;
use onward_secret::Identity;
use zeroize::Zeroizing;

use crate::protocol::{
    Answer, Hello, LINE_BYTES_MAX, LogLine, LogsRequest, OLDEST, Request, VERSION,
};

/// The time that an agent has for an answer, besides the time that it was asked to wait for news.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How much is written at once of what is long: few enough bytes that a slow line is seen to move.
const PART_BYTES: usize = 64 << 10;
/// The time that a slow line has for what is sent in one piece: a pack of a bundle.
const TAKEN_WITHIN: Duration = Duration::from_secs(300);
/// The time in which an agent says who it is: it does so beside all else that it does. One that says
/// nothing for so long hangs, and is not waited for any longer.
pub const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// The silence after which an agent that has yet to answer is asked who it is, to learn whether it
/// hangs or works.
const DOUBTED_AFTER: Duration = Duration::from_millis(500);
/// What people are told of a silence, for which the system has other words.
const SAYS_NOTHING: &str = "it runs and says nothing";
/// How long [`AgentLink::deliver`] waits for news unless told otherwise, in milliseconds.
const NEWS_WITHIN_MS: u64 = 1_000;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket: there is no agent.
    #[error("no agent listens at {}: {source}", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The connection broke, or the time was over. Whether the request was carried out is unknown.
    #[error("the agent did not answer: {}", if is_silence(.0) { SAYS_NOTHING.to_owned() } else { .0.to_string() })]
    Lost(#[from] io::Error),
    /// The agent did not carry the request out.
    #[error("{0}")]
    Refused(String),
    /// The agent speaks other words.
    #[error("the agent answered something else: {0}")]
    Nonsense(String),
    /// The server needs a key that it does not have and that cannot be brought from here.
    #[error(
        "the server does not have the key of the environment, and this side cannot open it to \
         bring it"
    )]
    NoKey,
    /// The agent is of another version.
    #[error(
        "the agent is of onward {}, which speaks version {} of the protocol; this onward speaks \
         versions {OLDEST} to {VERSION}",
        .0.onward, .0.version
    )]
    Version(Box<Hello>),
}

impl ClientError {
    /// Whether somebody listens and says nothing: an agent that hangs.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Lost(error) | Self::NoAgent { source: error, .. } => is_silence(error),
            Self::Refused(_) | Self::Nonsense(_) | Self::NoKey | Self::Version(_) => false,
        }
    }
}

/// A way to an agent: makes one connection after the other.
pub trait Dial: fmt::Debug + Send + Sync {
    /// A new connection.
    ///
    /// # Errors
    /// When nobody can be reached. One that would time out says so by its kind.
    fn dial(&self) -> io::Result<UnixStream>;

    /// Where it leads to, for people.
    fn place(&self) -> &Path;
}

/// The socket of an agent of this machine.
#[derive(Debug)]
struct Socket(PathBuf);

/// The way to an agent of this machine, by its socket.
pub fn socket(path: impl Into<PathBuf>) -> Arc<dyn Dial> {
    Arc::new(Socket(path.into()))
}

impl Dial for Socket {
    fn dial(&self) -> io::Result<UnixStream> {
        let stream = connected(&self.0)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?.uid;
        if !peer.is_root() && peer != rustix::process::geteuid() {
            return Err(io::Error::other("the process that listens is another user's"));
        }
        Ok(stream)
    }

    fn place(&self) -> &Path {
        &self.0
    }
}

/// A connection to an agent. Requests go one after the other.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    way: Arc<dyn Dial>,
}

/// A report with its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Handed back, it lets the next answer wait for news.
    pub revision: u64,
    /// The report.
    pub report: Report,
}

impl Client {
    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// [`ClientError::NoAgent`]; of one that hangs, when its queue is full, it is a silence.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::over(&self::socket(path))
    }

    /// Connects to an agent wherever it is.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn over(way: &Arc<dyn Dial>) -> Result<Self, ClientError> {
        let connect = || {
            let stream = way.dial()?;
            stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
            stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
            Ok(stream)
        };
        let path = way.place();
        let stream =
            connect().map_err(|source| ClientError::NoAgent { path: path.to_owned(), source })?;
        Ok(Self { stream: BufReader::new(stream), way: Arc::clone(way) })
    }

    /// The process that listens, as the system knows it; also of one that says nothing.
    pub fn listener(path: &Path) -> Option<i32> {
        let peer = rustix::net::sockopt::socket_peercred(&connected(path).ok()?).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }

    /// Who the agent is, said within [`HELLO_WITHIN`].
    ///
    /// # Errors
    /// [`ClientError::Version`] when it is too old or too new to speak to, and those of every request.
    pub fn hello(&mut self) -> Result<Hello, ClientError> {
        self.hello_within(HELLO_WITHIN)
    }

    /// The same with another limit of time.
    ///
    /// # Errors
    /// Those of [`Client::hello`].
    pub fn hello_within(&mut self, within: Duration) -> Result<Hello, ClientError> {
        self.stream.get_ref().set_read_timeout(Some(within))?;
        self.send(&Request::Hello)?;
        match self.receive()? {
            Answer::Hello(hello) if hello.is_understood() => Ok(*hello),
            Answer::Hello(hello) => Err(ClientError::Version(hello)),
            other => Err(nonsense(&other)),
        }
    }

    /// Brings an order. Answers at once when the report is another than the one of
    /// `known_revision`, else when there is news or `wait_ms` milliseconds are over.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the order was not taken.
    pub fn deliver(
        &mut self,
        order: &Order,
        known_revision: Option<u64>,
        wait_ms: u64,
    ) -> Result<Seen, ClientError> {
        let order = Box::new(order.clone());
        self.report_of(&Request::Deliver { order, known_revision, wait_ms }, wait_ms)
    }

    /// The report of one app in one environment.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it was never there.
    pub fn report(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
        known_revision: Option<u64>,
        wait_ms: u64,
    ) -> Result<Seen, ClientError> {
        let (app, environment) = (app.clone(), environment.clone());
        let request = Request::Report { app, environment, known_revision, wait_ms };
        self.report_of(&request, wait_ms)
    }

    /// Leaves a copy of the state document with the server.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server does not carry the app, or cannot write.
    pub fn keep_copy(&mut self, document: &Document) -> Result<(), ClientError> {
        match self.ask(&Request::KeepCopy { document: Box::new(document.clone()) }, 0)? {
            Answer::Kept => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    /// The copy of the state document that the server has.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be read.
    pub fn copy(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Option<Document>, ClientError> {
        let request = Request::Copy { app: app.clone(), environment: environment.clone() };
        match self.ask(&request, 0)? {
            Answer::Copy { document } => Ok(document.map(|document| *document)),
            other => Err(nonsense(&other)),
        }
    }

    /// Whether the agent has the private half of a key of an environment.
    ///
    /// # Errors
    /// Those of every request.
    pub fn holds_key(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
        key: &PublicKey,
    ) -> Result<bool, ClientError> {
        let (app, environment, key) = (app.clone(), environment.clone(), key.clone());
        self.key_of(&Request::HoldsKey { app, environment, key })
    }

    /// Brings a key of an environment. It is durable when this returns.
    ///
    /// # Errors
    /// Those of every request.
    pub fn take_key(
        &mut self,
        app: &AppName,
        environment: &EnvironmentName,
        identity: Identity,
    ) -> Result<(), ClientError> {
        let (app, environment) = (app.clone(), environment.clone());
        self.key_of(&Request::TakeKey { app, environment, identity }).map(drop)
    }

    fn key_of(&mut self, request: &Request) -> Result<bool, ClientError> {
        match self.ask(request, 0)? {
            Answer::Key { held } => Ok(held),
            other => Err(nonsense(&other)),
        }
    }

    /// The lines that processes printed. While it follows, this returns when `each` says no.
    ///
    /// # Errors
    /// Those of every request.
    pub fn logs(
        &mut self,
        request: LogsRequest,
        mut each: impl FnMut(LogLine) -> bool,
    ) -> Result<(), ClientError> {
        let quiet = if request.follow { None } else { Some(ANSWERS_WITHIN) };
        self.stream.get_ref().set_read_timeout(quiet)?;
        self.send(&Request::Logs(request))?;
        loop {
            match self.receive()? {
                Answer::Line(line) => {
                    if !each(line) {
                        // The connection cannot be used for anything else.
                        self.stream.get_ref().shutdown(std::net::Shutdown::Both)?;
                        return Ok(());
                    }
                }
                Answer::End => break,
                other => return Err(nonsense(&other)),
            }
        }
        Ok(self.stream.get_ref().set_read_timeout(Some(ANSWERS_WITHIN))?)
    }

    /// Replaces the proxy by one of the agent's build, when it is of another. Returns at once; how
    /// it goes is told by [`Client::hello`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] by an agent that is too old to know this.
    pub fn renew(&mut self) -> Result<Hello, ClientError> {
        match self.ask(&Request::Renew, 0)? {
            Answer::Hello(hello) => Ok(*hello),
            other => Err(nonsense(&other)),
        }
    }

    /// Ends the agent alone; apps and proxy go on. Returns when it is gone.
    ///
    /// # Errors
    /// Those of every request.
    pub fn quit(mut self) -> Result<(), ClientError> {
        match self.end(&Request::Quit) {
            // It may end before its answer has left.
            Err(ClientError::Lost(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        }
    }

    /// Ends the proxy and the agent. Returns when they are gone.
    ///
    /// # Errors
    /// [`ClientError::Refused`] names the apps that are still there.
    pub fn shutdown(mut self) -> Result<(), ClientError> {
        self.end(&Request::Shutdown)
    }

    fn end(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request, 0)? {
            Answer::Ending => {}
            other => return Err(nonsense(&other)),
        }
        // The connection ends with the agent.
        let mut rest = Vec::new();
        match self.stream.by_ref().take(LINE_BYTES_MAX).read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                Err(ClientError::Lost(error))
            }
            _ => Ok(()),
        }
    }

    fn report_of(&mut self, request: &Request, wait_ms: u64) -> Result<Seen, ClientError> {
        match self.ask(request, wait_ms)? {
            Answer::Report { revision, report } => Ok(Seen { revision, report: *report }),
            other => Err(nonsense(&other)),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request, wait_ms: u64) -> Result<Answer, ClientError> {
        let doubted = DOUBTED_AFTER + Duration::from_millis(wait_ms);
        self.stream.get_ref().set_read_timeout(Some(doubted))?;
        self.send(request)?;
        let mut line = Vec::new();
        match self.receive_into(&mut line) {
            // What was read of the answer stays in `line`.
            Err(error) if error.is_silence() && self.somebody_else_is_answered() => {
                self.stream.get_ref().set_read_timeout(Some(ANSWERS_WITHIN))?;
                self.receive_into(&mut line)
            }
            other => other,
        }
    }

    /// Says something that is followed by bytes, and is not answered at once.
    pub(crate) fn tell(&mut self, request: &Request, bytes: &[u8]) -> Result<(), ClientError> {
        self.tell_in_parts(request, bytes, &mut |_| ())
    }

    /// As [`Self::tell`]; says after each part how many bytes were written of all.
    pub(crate) fn tell_in_parts(
        &mut self,
        request: &Request,
        bytes: &[u8],
        on_written: &mut dyn FnMut(u64),
    ) -> Result<(), ClientError> {
        self.stream.get_ref().set_write_timeout(Some(TAKEN_WITHIN))?;
        self.send(request)?;
        let mut written = 0;
        for part in bytes.chunks(PART_BYTES) {
            self.stream.get_mut().write_all(part)?;
            written += part.len() as u64;
            on_written(written);
        }
        Ok(())
    }

    /// What the server lacks of the bundle that it was told of.
    pub(crate) fn lacks(&mut self) -> Result<Vec<Digest>, ClientError> {
        self.stream.get_ref().set_read_timeout(Some(TAKEN_WITHIN))?;
        match self.receive()? {
            Answer::Lacks { contents } => Ok(contents),
            other => Err(nonsense(&other)),
        }
    }

    /// The error about an answer that does not belong to its question.
    pub(crate) fn surprised(answer: &Answer) -> ClientError {
        nonsense(answer)
    }

    /// Whether the agent answers on another connection: then it works on what this one asked.
    fn somebody_else_is_answered(&self) -> bool {
        match Self::over(&self.way).and_then(|mut other| other.hello()) {
            Ok(_) | Err(ClientError::Version(_)) => true,
            // One that has ended meanwhile says so on the connection itself.
            Err(error) => !error.is_silence(),
        }
    }

    /// The connection, for limits of time.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// The connection, for words of another kind.
    pub(crate) fn into_stream(self) -> BufReader<UnixStream> {
        self.stream
    }

    pub(crate) fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        // It may hold a key.
        let bytes = serde_json::to_vec(request).expect("a request has only text keys");
        let mut bytes = Zeroizing::new(bytes);
        bytes.push(b'\n');
        Ok(self.stream.get_mut().write_all(&bytes)?)
    }

    pub(crate) fn receive(&mut self) -> Result<Answer, ClientError> {
        self.receive_into(&mut Vec::new())
    }

    /// Reads the rest of an answer whose beginning `line` may have.
    fn receive_into(&mut self, line: &mut Vec<u8>) -> Result<Answer, ClientError> {
        self.stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
        if !line.ends_with(b"\n") {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(line) {
            Ok(Answer::Refused { text }) => Err(ClientError::Refused(text)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(ClientError::Nonsense(error.to_string())),
        }
    }
}

/// Connects without waiting for ever at the full queue of an agent that hangs.
fn connected(path: &Path) -> io::Result<UnixStream> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Send, Some(HELLO_WITHIN))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub(crate) fn nonsense(answer: &Answer) -> ClientError {
    ClientError::Nonsense(serde_json::to_string(answer).unwrap_or_default())
}

/// Opens the private half of a key, when that can be done here.
pub type OpenKey = Arc<dyn Fn(&PublicKey) -> Option<Identity> + Send + Sync>;

/// The way for orders to one agent. It keeps a connection between deliveries, and brings the key of
/// the environment before the first order that needs it.
pub struct AgentLink {
    way: Arc<dyn Dial>,
    open_key: Option<OpenKey>,
    news_within_ms: u64,
    state: Mutex<LinkState>,
}

impl fmt::Debug for AgentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentLink").field("way", &self.way).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct LinkState {
    client: Option<Client>,
    seen: Option<Seen>,
    /// The key that the agent is known to have.
    key: Option<PublicKey>,
}

impl AgentLink {
    /// The way to the agent that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self::over(self::socket(socket))
    }

    /// The way to an agent wherever it is.
    pub fn over(way: Arc<dyn Dial>) -> Self {
        Self { way, open_key: None, news_within_ms: NEWS_WITHIN_MS, state: Mutex::default() }
    }

    /// The same, with another time that the agent waits for news, in milliseconds.
    #[must_use]
    pub fn with_news_within(self, news_within_ms: u64) -> Self {
        Self { news_within_ms, ..self }
    }

    /// The same, with a way to open the key of the environment for a server that lacks it.
    #[must_use]
    pub fn with_keys(mut self, open_key: OpenKey) -> Self {
        self.open_key = Some(open_key);
        self
    }

    /// Sees to it that the agent has the key that an order needs.
    fn bring_key(
        &self,
        client: &mut Client,
        state: &mut LinkState,
        order: &Order,
    ) -> Result<(), ClientError> {
        let of_app = order.releases.values().any(|release| !release.config.secrets.is_empty());
        let needs = of_app || order.https.as_ref().is_some_and(|own| !own.certificates.is_empty());
        let Some(secrets) = order.secrets.as_ref().filter(|_| needs) else { return Ok(()) };
        let key = &secrets.key;
        if state.key.as_ref() == Some(key) {
            return Ok(());
        }
        if !client.holds_key(&order.app, &order.environment, key)? {
            let opened = self.open_key.as_ref().and_then(|open| open(key));
            let identity = opened.ok_or(ClientError::NoKey)?;
            client.take_key(&order.app, &order.environment, identity)?;
        }
        state.key = Some(key.clone());
        Ok(())
    }

    fn exchange(
        &self,
        state: &mut LinkState,
        order: &Order,
        known: Option<u64>,
    ) -> Result<Seen, ClientError> {
        // A connection that was kept may have ended with its agent, which has another by now. An
        // order may be brought twice.
        if let Some(mut client) = state.client.take()
            && self.bring_key(&mut client, state, order).is_ok()
        {
            match client.deliver(order, known, self.news_within_ms) {
                Ok(seen) => {
                    state.client = Some(client);
                    return Ok(seen);
                }
                // Another connection would be as silent.
                Err(ClientError::Lost(error)) if is_silence(&error) => return Err(error.into()),
                Err(_) => {}
            }
        }
        // Another agent may have come with another tree.
        state.key = None;
        let mut client = Client::over(&self.way)?;
        self.bring_key(&mut client, state, order)?;
        let seen = client.deliver(order, known, self.news_within_ms)?;
        state.client = Some(client);
        Ok(seen)
    }
}

impl Link for AgentLink {
    fn deliver(&self, order: &Order, seen: Option<&Report>) -> Outcome<Report, DeliveryRefused> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = state.seen.as_ref().filter(|own| Some(&own.report) == seen);
        let known = known.map(|own| own.revision);
        match self.exchange(&mut state, order, known) {
            Ok(answer) => {
                state.seen = Some(answer.clone());
                Outcome::Done(answer.report)
            }
            Err(
                error
                @ (ClientError::NoAgent { .. } | ClientError::Refused(_) | ClientError::NoKey),
            ) => Outcome::Refused(DeliveryRefused(error.to_string())),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    fn keep_copy(&self, document: &Document) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let client = state.client.take().map_or_else(|| Client::over(&self.way), Ok);
        // A connection on which it failed is not used again.
        state.client =
            client.ok().and_then(|mut own| own.keep_copy(document).is_ok().then_some(own));
    }
}
