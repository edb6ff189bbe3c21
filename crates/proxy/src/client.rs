//! A blocking client of the control socket, so that nobody else writes the protocol again.

use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::certificates::Certificates;
use crate::heritage::{Entry, Heritage};
use crate::protocol::{Answer, MAX_LINE, Request, Status, Why};
use crate::table::Table;

/// How long one answer may take. A table is written with fsync, which on a busy disk takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection to a proxy's control socket. Requests go one after the other.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

/// Why a control request has no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection, or it broke. After `set` and `cut` it is unknown whether they took effect;
    /// both may be repeated.
    #[error("the proxy's control socket doesn't answer: {0}")]
    Io(#[from] io::Error),
    /// The proxy understood and refused; nothing changed.
    #[error("the proxy refused: {text}")]
    Refused {
        /// The kind of refusal.
        why: Why,
        /// The reason, for people.
        text: String,
    },
    /// The other side speaks another protocol.
    #[error("the proxy's control socket answered nonsense: {0}")]
    Nonsense(String),
}

impl ClientError {
    /// Why the proxy refused, when it did.
    #[must_use]
    pub fn refusal(&self) -> Option<Why> {
        match self {
            Self::Refused { why, .. } => Some(*why),
            Self::Io(_) | Self::Nonsense(_) => None,
        }
    }
}

impl Client {
    /// Connects to the control socket at `path`. Each request may then take 10 seconds.
    ///
    /// # Errors
    /// [`ClientError::Io`] when nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Puts a table in force. Once this returns it is durable, every request that starts from now
    /// on follows it, and what was given to an instance before shows in
    /// [`crate::InstanceStatus::in_flight`].
    ///
    /// # Errors
    /// [`ClientError::Refused`]: the old table stays in force ([`Why::Stale`], [`Why::Invalid`],
    /// [`Why::Storage`]).
    pub fn set(&mut self, table: &Table) -> Result<(), ClientError> {
        match self.ask(&Request::Set { table: table.clone() })? {
            Answer::Set => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Everything the proxy knows about itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Closes the upgraded connections of an instance and ends its requests in flight (answered 504
    /// where no answer had begun, cut otherwise; both count as lost). Carried out within
    /// milliseconds after this returns.
    ///
    /// # Errors
    /// [`Why::Unknown`] when the proxy has nothing of this instance.
    pub fn cut(&mut self, instance: &str) -> Result<(), ClientError> {
        match self.ask(&Request::Cut { instance: instance.to_owned() })? {
            Answer::Cut => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A descriptor of the listening TCP socket, to hold it while the proxy is away.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn listener(&mut self) -> Result<OwnedFd, ClientError> {
        self.socket(&Request::Listener)
    }

    /// The same for the socket that clients with TLS come to.
    ///
    /// # Errors
    /// [`Why::Unknown`] when the proxy has none; see [`ClientError`].
    pub fn https_listener(&mut self) -> Result<OwnedFd, ClientError> {
        self.socket(&Request::HttpsListener)
    }

    fn socket(&mut self, which: &Request) -> Result<OwnedFd, ClientError> {
        self.send(which)?;
        self.received.clear();
        let descriptor = self.receive_descriptor()?;
        match self.receive()? {
            Answer::Listener => {}
            other => return Err(unexpected(&other)),
        }
        descriptor.ok_or_else(|| ClientError::Nonsense("no descriptor came with it".into()))
    }

    /// Puts certificates in force. Once this returns they are durable, and every session that
    /// begins from now on is shown them; those that are open go on.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: the old ones stay in force ([`Why::Invalid`], [`Why::Storage`];
    /// [`Why::Malformed`] from a proxy that is too old to know this).
    pub fn certify(&mut self, certificates: &Certificates) -> Result<(), ClientError> {
        match self.ask(&Request::Certify { certificates: certificates.clone() })? {
            Answer::Certified => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets a proxy that waits beside another one accept connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn accept(&mut self) -> Result<(), ClientError> {
        match self.ask(&Request::Accept)? {
            Answer::Accepting => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The proxy accepts nobody any more, and ends once the connections that it has are over or
    /// [`crate::Limits::leave_within`] is. Then it tells the proxy whose control socket is `heir`
    /// what it counted.
    ///
    /// # Errors
    /// See [`ClientError`]; [`Why::Malformed`] from a proxy that is too old to know this.
    pub fn leave(&mut self, heir: &Path) -> Result<(), ClientError> {
        match self.ask(&Request::Leave { heir: heir.to_owned() })? {
            Answer::Left => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What the proxy counted, for its successor.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn heritage(&mut self) -> Result<Heritage, ClientError> {
        match self.ask(&Request::Heritage)? {
            Answer::Heritage(heritage) => Ok(heritage),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells the proxy what an earlier one counted. It may be told again and again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn inherit(&mut self, epoch: &str, entry: Entry) -> Result<(), ClientError> {
        match self.ask(&Request::Inherit { epoch: epoch.to_owned(), entry })? {
            Answer::Inherited => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send(request)?;
        self.received.clear();
        self.receive()
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut text = serde_json::to_vec(request)
            .map_err(|error| ClientError::Io(io::Error::other(error)))?;
        text.push(b'\n');
        Ok(self.stream.write_all(&text)?)
    }

    /// Reads the rest of a line and takes it apart.
    fn receive(&mut self) -> Result<Answer, ClientError> {
        let mut piece = [0; 16 * 1024];
        while self.received.last() != Some(&b'\n') {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.received.extend_from_slice(&piece[..read]);
            if self.received.len() > MAX_LINE {
                return Err(ClientError::Nonsense("the answer has no end".into()));
            }
        }
        match serde_json::from_slice(&self.received) {
            Ok(Answer::No { why, text }) => Err(ClientError::Refused { why, text }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(ClientError::Nonsense(error.to_string())),
        }
    }

    /// Reads the first bytes of an answer and the descriptor that may come with them.
    fn receive_descriptor(&mut self) -> Result<Option<OwnedFd>, ClientError> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut piece = [0; 4096];
        let mut pieces = [IoSliceMut::new(&mut piece)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(&self.stream, &mut pieces, &mut ancillary, flags)
            .map_err(io::Error::from)?;
        if got.bytes == 0 {
            return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        self.received.extend_from_slice(&piece[..got.bytes]);
        Ok(descriptor)
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    let text = serde_json::to_string(answer).unwrap_or_default();
    ClientError::Nonsense(text)
}
