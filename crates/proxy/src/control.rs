//! The control socket: takes tables, tells counters, cuts, hands out the listener.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

use crate::certificates::{Certificates, Keyring};
use crate::certificates_file;
use crate::metrics;
use crate::protocol::{Answer, MAX_LINE, Request, Why};
use crate::shared::Shared;
use crate::sockets;
use crate::stage::Stage;
use crate::table::Table;
use crate::table_file;
use crate::worker::Listeners;

/// Control connections at once: an agent, a command or two, and what they left open.
const MAX_CONNECTIONS: usize = 32;
/// A control connection that says nothing for this long is closed.
const SILENCE: Duration = Duration::from_secs(600);
/// How a line with private keys begins.
const CERTIFY: &[u8] = br#"{"do":"certify""#;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound socket. Its file is removed on drop, unless another proxy has put its own there.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Binds under a passing name, closes it to others, and only then moves it to its place, where
    /// it replaces what a dead proxy left.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let passing = path.with_file_name(name);
        let _ = std::fs::remove_file(&passing);
        let listener = UnixListener::bind(&passing)?;
        let mode = sockets::mode_in(path.parent().unwrap_or(Path::new(".")), 0o060);
        std::fs::set_permissions(&passing, std::fs::Permissions::from_mode(mode))?;
        let inode = std::fs::metadata(&passing)?.ino();
        std::fs::rename(&passing, path)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What a control request acts upon.
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table_file: PathBuf,
    pub(crate) certificates_file: PathBuf,
    pub(crate) listeners: Listeners<TcpListener>,
    /// Who is told what was counted, once this proxy has left.
    pub(crate) heir: RefCell<Option<PathBuf>>,
    /// Where metrics are told, and who does it.
    pub(crate) metrics: RefCell<Vec<Teller>>,
}

/// Tells metrics at an address while it exists.
pub(crate) struct Teller {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers control connections; never ends by itself.
pub(crate) async fn serve(socket: &ControlSocket, control: Rc<Control>) {
    let places = Rc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = socket.listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if !is_trusted(&stream) || places.available_permits() == 0 {
            continue;
        }
        let (control, places) = (control.clone(), places.clone());
        tokio::task::spawn_local(async move {
            let _place = places.acquire().await;
            // A control client that breaks off is its own problem.
            let _ = converse(stream, &control).await;
        });
    }
}

/// The file's mode keeps others out; this closes the moment before it was set.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse(stream: UnixStream, control: &Control) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut stream).take(MAX_LINE as u64);
        let read = limited.read_until(b'\n', &mut line);
        let read = tokio::time::timeout(SILENCE, read).await.map_err(io::Error::from)??;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok(());
        }
        let (answer, socket) = control.answer(&line);
        let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
        text.push(b'\n');
        if let Some(socket) = socket {
            let sent = send_with(stream.get_ref(), &text, socket).await?;
            text.drain(..sent);
        }
        stream.get_mut().write_all(&text).await?;
    }
}

impl Control {
    /// The answer to a line, with the socket that goes with it.
    fn answer(&self, line: &[u8]) -> (Answer, Option<&TcpListener>) {
        let request = serde_json::from_slice(line);
        if request.is_err() && line.starts_with(CERTIFY) {
            // What the parser says might quote a key.
            return (no(Why::Malformed, &"these are no certificates"), None);
        }
        let socket = match request {
            Ok(Request::Listener) => Some(&self.listeners.http),
            Ok(Request::HttpsListener) => self.listeners.https.as_ref(),
            _ => None,
        };
        (self.act(request, socket.is_some()), socket)
    }

    fn act(&self, request: serde_json::Result<Request>, has_socket: bool) -> Answer {
        match request {
            Err(error) => no(Why::Malformed, &error),
            Ok(Request::Set { table }) => self.set(table),
            Ok(Request::Status) => Answer::Status(self.shared.status()),
            Ok(Request::Cut { instance }) if self.shared.cut(&instance) => Answer::Cut,
            Ok(Request::Cut { instance }) => {
                no(Why::Unknown, &format!("the proxy knows no instance {instance:?}"))
            }
            Ok(Request::Certify { certificates }) => self.certify(&certificates),
            Ok(Request::Listener | Request::HttpsListener) if has_socket => Answer::Listener,
            Ok(Request::Listener | Request::HttpsListener) => {
                no(Why::Unknown, &"the proxy has no socket for https")
            }
            Ok(Request::Accept) => {
                self.shared.advance(Stage::Serving);
                Answer::Accepting
            }
            Ok(Request::Leave { heir }) => {
                *self.heir.borrow_mut() = Some(heir);
                self.shared.advance(Stage::Leaving);
                Answer::Left
            }
            Ok(Request::Heritage) => Answer::Heritage(self.shared.heritage()),
            Ok(Request::Inherit { epoch, entry }) => {
                self.shared.inherit(&epoch, entry);
                Answer::Inherited
            }
        }
    }

    /// Durable first, then in force, then acknowledged. A proxy that waits or leaves only follows:
    /// the file belongs to the one that serves. Runs on the one control thread, so two
    /// tables can't overtake each other.
    fn set(&self, table: Table) -> Answer {
        let snapshot = self.shared.snapshot();
        if let Some(held) = &snapshot.table {
            if table.version < held.version {
                let text =
                    format!("version {} is in force, {} is older", held.version, table.version);
                return no(Why::Stale, &text);
            }
            if table == *held {
                return Answer::Set;
            }
            if table.version == held.version {
                return no(
                    Why::Stale,
                    &format!("version {} is in force with another content", held.version),
                );
            }
        }
        if let Err(error) = table.validate() {
            return no(Why::Invalid, &error);
        }
        if self.shared.stage() == Stage::Serving
            && let Err(error) = table_file::store(&self.table_file, &table)
        {
            return no(Why::Storage, &error);
        }
        self.shared.switch(table);
        self.tell_metrics();
        Answer::Set
    }

    /// Durable first, then in force; as with a table, the file belongs to the one that serves.
    fn certify(&self, certificates: &Certificates) -> Answer {
        let keyring = match Keyring::of(certificates) {
            Ok(keyring) => keyring,
            Err(error) => return no(Why::Invalid, &error),
        };
        if keyring.identity == self.shared.door.keyring().identity {
            return Answer::Certified;
        }
        if self.shared.stage() == Stage::Serving
            && let Err(error) = certificates_file::store(&self.certificates_file, certificates)
        {
            return no(Why::Storage, &error);
        }
        self.shared.door.exchange(keyring);
        Answer::Certified
    }

    /// Opens and closes what the table in force says about metrics.
    pub(crate) fn tell_metrics(&self) {
        let snapshot = self.shared.snapshot();
        let wanted = snapshot.table.as_ref().map_or(&[][..], |table| &table.metrics);
        let mut tellers = self.metrics.borrow_mut();
        tellers.retain(|teller| wanted.contains(&teller.address));
        for address in wanted {
            if tellers.iter().any(|teller| teller.address == *address) {
                continue;
            }
            let (address, shared) = (*address, self.shared.clone());
            let task = tokio::task::spawn_local(async move {
                metrics::serve(address, &shared).await;
            });
            tellers.push(Teller { address, task: task.abort_handle() });
        }
    }
}

fn no(why: Why, text: &dyn ToString) -> Answer {
    Answer::No { why, text: text.to_string() }
}

/// Sends bytes with a descriptor attached to the first of them.
async fn send_with(stream: &UnixStream, text: &[u8], what: impl AsFd) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let descriptors = [what.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            let pieces = [IoSlice::new(text)];
            Ok(rustix::net::sendmsg(stream, &pieces, &mut ancillary, SendFlags::empty())?)
        })
        .await
}
