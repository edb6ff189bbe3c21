//! Socket options, each for a reason.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// After this long without a byte the kernel asks whether the other side is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Descriptors besides one per client: the listeners, control connections, epoll.
const SPARE_DESCRIPTORS: u64 = 64;
/// The bit of a directory that gives its group to what is made in it.
const SETGID: u32 = 0o2000;

/// No delay for small answers, and a peer that vanished without a word is noticed in minutes, which
/// matters where no time-out applies: upgraded connections and endless answers. A socket that
/// refuses an option is broken, and the first read says so.
pub(crate) fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER);
}

/// Closes a connection without a word and without keeping anything of it, as one does with a crowd.
pub(crate) fn reset(stream: TcpStream) {
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

/// Whether this descriptor is a TCP socket that listens.
pub(crate) fn is_listening(descriptor: impl AsFd) -> bool {
    sockopt::socket_acceptconn(descriptor).unwrap_or(false)
}

/// The mode of what the proxy puts into a directory: others are kept out. A directory that gives its
/// own group to what is in it (setgid) is shared with that group, which may then have `group` too.
pub(crate) fn mode_in(directory: &Path, group: u32) -> u32 {
    let shared = std::fs::metadata(directory).is_ok_and(|meta| meta.mode() & SETGID != 0);
    if shared { 0o600 | group } else { 0o600 }
}

/// Asks for as many descriptors as the connections need; takes what the system gives.
pub(crate) fn raise_descriptor_limit(clients: usize, upstream: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = (clients + upstream) as u64 * 2 + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit });
    }
}

/// The listening socket that this process got as its standard output, if it did.
pub(crate) fn listener_from_stdout() -> Option<TcpListener> {
    let stdout = io::stdout();
    if !is_listening(stdout.as_fd()) {
        return None;
    }
    stdout.as_fd().try_clone_to_owned().ok().map(TcpListener::from)
}

/// The listening socket that this process got as its standard input.
///
/// # Errors
/// When standard input is no listening socket.
pub(crate) fn listener_from_stdin() -> io::Result<TcpListener> {
    let stdin = io::stdin();
    if !is_listening(stdin.as_fd()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "standard input isn't a listening TCP socket",
        ));
    }
    let descriptor = stdin.as_fd().try_clone_to_owned()?;
    Ok(TcpListener::from(descriptor))
}
