//! `onward agent stdio`: the server's side of a session over SSH.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{HELLO, Session};
use crate::layout;

/// Carries the conversations of standard input and output to the agent whose sockets are in
/// `runtime`, until standard input ends.
///
/// # Errors
/// When the first line cannot be printed. An agent that is not there ends the conversations that
/// want it, one by one, so that the other side can see to it.
pub fn stdio(runtime: &Path) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{HELLO}")?;
    out.flush()?;
    let socket = layout::agent_socket(runtime);
    let session = Session::acceptor(io::stdin(), out, move || UnixStream::connect(&socket));
    session.wait();
    Ok(())
}
