//! Speaking to an agent over its socket. Everything here blocks, with a limit of time.

mod dial;
mod error;
mod link;
mod looking;
mod machine;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onward_core::document::Document;
use onward_core::model::{AppName, Digest, EnvironmentName};
use onward_core::order::Order;
use onward_core::report::Report;
use onward_core::secrets::PublicKey;
use onward_secret::Identity;
use zeroize::Zeroizing;

pub use dial::{Dial, socket};
pub(crate) use error::nonsense;
pub use error::{ClientError, NO_USE};
pub use link::{AgentLink, OpenKey};

use crate::protocol::{Answer, Hello, LINE_BYTES_MAX, Request};

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
        let peer = rustix::net::sockopt::socket_peercred(&dial::connected(path).ok()?).ok()?;
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
        self.tell_in_parts(request, bytes, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`Self::tell`]; says after each part how many bytes were written of all.
    pub(crate) fn tell_in_parts(
        &mut self,
        request: &Request,
        bytes: &[u8],
        on_written: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.stream.get_ref().set_write_timeout(Some(TAKEN_WITHIN))?;
        self.send(request)?;
        let mut written = 0;
        for part in bytes.chunks(PART_BYTES) {
            self.stream.get_mut().write_all(part)?;
            written += part.len() as u64;
            if on_written(written).is_break() {
                // The server waits for the rest: nothing else can be said over this connection.
                self.stream.get_ref().shutdown(std::net::Shutdown::Both)?;
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
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
