//! Terminals for programs that people sit before: a pseudo-terminal, and how a program gets it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::stream::Size;

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    /// Our side: what is written here is typed, what is read here was printed. Does not block.
    pub controller: OwnedFd,
    /// The program's side.
    pub terminal: OwnedFd,
}

impl Terminal {
    /// Opens one of this size.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn open(size: Size) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&controller)?;
        rustix::pty::unlockpt(&controller)?;
        let name = rustix::pty::ptsname(&controller, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name, flags, Mode::empty())?;
        resize(&controller, size)?;
        let flags = rustix::fs::fcntl_getfl(&controller)?;
        rustix::fs::fcntl_setfl(&controller, flags | OFlags::NONBLOCK)?;
        Ok(Self { controller, terminal })
    }
}

/// Tells a terminal its size; the programs in it are told by the system.
///
/// # Errors
/// When it is none.
pub fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let (ws_row, ws_col) = (size.rows, size.columns);
    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Makes the terminal that is our standard input the controlling one of a new session and becomes
/// the program. A process can do so only for itself, so the agent starts one of onward that does.
///
/// Returns only when that failed.
pub fn become_in_session(program: &OsString, arguments: &[OsString]) -> io::Error {
    let own = rustix::process::getpid();
    let is_leader = || rustix::process::getsid(None).is_ok_and(|leader| leader == own);
    let lead = || -> io::Result<()> {
        match rustix::process::setsid() {
            // A unit of systemd leads a session of its own already.
            Err(rustix::io::Errno::PERM) if is_leader() => {}
            other => drop(other?),
        }
        Ok(rustix::process::ioctl_tiocsctty(io::stdin())?)
    };
    match lead() {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}
