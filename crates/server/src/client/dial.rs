//! Ways to an agent's socket.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::HELLO_WITHIN;

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

/// Connects without waiting for ever at the full queue of an agent that hangs.
pub(super) fn connected(path: &Path) -> io::Result<UnixStream> {
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
