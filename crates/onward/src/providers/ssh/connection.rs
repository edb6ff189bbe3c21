//! One connection: a child process `ssh` and the session over its pipes.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use onward_server::session::{HELLO, Session};

use super::bare::{self, Facts};
use super::error::SshError;
use super::invocation::{BARE, FACTS_END, FAILED, Invocation, NO_SUDO, remote};
use super::pins::Pins;
use onward_core::model::ServerName;

/// The time that a server has to answer after `ssh` was started, its connection included.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// The time that a server has to take a copy of onward and to start it: minutes on a slow line.
const INSTALLS_WITHIN: Duration = Duration::from_secs(600);
/// How many lines of `ssh` are kept for an error.
const LINES_KEPT: usize = 6;
/// The longest line that a server may print before the session begins, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// How many lines a login shell may print before ours come.
const LINES_MAX: usize = 200;

/// What shall happen when onward is not on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfBare {
    /// Say so.
    Tell,
    /// Put it there.
    Install,
    /// Put it there even if it is there already, perhaps of another build.
    Replace,
}

/// A connection that answers.
#[derive(Debug)]
pub(super) struct Connection {
    session: Session,
    child: Mutex<Child>,
}

impl Connection {
    /// Connects, and puts onward on the server when that is asked for. Writes the key that the
    /// server showed to the invocation's file.
    pub(super) fn open(
        invocation: &Invocation<'_>,
        server: &ServerName,
        pins: &Pins,
        if_bare: IfBare,
    ) -> Result<Self, SshError> {
        let mut command = invocation.command();
        command.arg(remote(server, if_bare == IfBare::Replace));
        let child = command.spawn().map_err(|error| SshError::NoSsh(error.to_string()))?;
        let mut opening = Opening::of(child);
        match opening.until_session(pins, if_bare) {
            Ok(()) => opening.finish(),
            Err(error) => Err(opening.give_up(error)),
        }
    }

    /// A new conversation with the agent.
    pub(super) fn dial(&self) -> io::Result<UnixStream> {
        self.session.open()
    }

    /// Whether it was lost.
    pub(super) fn is_over(&self) -> bool {
        self.session.is_over()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without it nothing is lost: what is on its way is asked for again.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A connection that is being made.
struct Opening {
    child: Child,
    lines: Lines,
    said: Arc<Mutex<VecDeque<String>>>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Opening {
    fn of(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let keeping = Arc::clone(&said);
        let listening = thread::spawn(move || listen(stderr, &keeping));
        Self { child, lines: Lines::of(stdout), said, listening: Some(listening) }
    }

    /// Reads what the server prints until its agent's session begins.
    fn until_session(&mut self, pins: &Pins, if_bare: IfBare) -> Result<(), SshError> {
        for _ in 0..LINES_MAX {
            let line = self.lines.next(ANSWERS_WITHIN)?.ok_or_else(|| self.ended())?;
            if line == HELLO {
                return Ok(());
            }
            if line == BARE {
                return self.fill(pins, if_bare);
            }
            if let Some(user) = line.strip_prefix(NO_SUDO) {
                return Err(SshError::NoSudo { user: user.trim().to_owned() });
            }
            if let Some(why) = line.strip_prefix(FAILED) {
                return Err(self.not_installed(why));
            }
        }
        Err(SshError::Unsuitable("its login shell prints too much".to_owned()))
    }

    /// Onward is not there.
    fn fill(&mut self, pins: &Pins, if_bare: IfBare) -> Result<(), SshError> {
        let mut about = Vec::new();
        loop {
            let line = self.lines.next(ANSWERS_WITHIN)?.ok_or_else(|| self.ended())?;
            if line == FACTS_END {
                break;
            }
            about.push(line);
            if about.len() > LINES_MAX {
                return Err(SshError::Unsuitable("it says too much about itself".to_owned()));
            }
        }
        if let Some(why) = Facts::of(&about).unsuitable() {
            return Err(SshError::Unsuitable(why));
        }
        if if_bare == IfBare::Tell {
            return Err(SshError::Bare);
        }
        let scratch = pins.directory().map_err(|error| SshError::here(&error))?;
        let copy = bare::copy(scratch)?;
        let stdin = self.child.stdin.as_mut().expect("it is taken at the end");
        if copy.send(stdin).is_err() {
            // It says why, or `ssh` does.
            let last = self.lines.next(ANSWERS_WITHIN).ok().flatten();
            let why = last.as_deref().and_then(|line| line.strip_prefix(FAILED));
            return Err(match why {
                Some(why) => self.not_installed(why),
                None => self.ended(),
            });
        }
        loop {
            let line = self.lines.next(INSTALLS_WITHIN)?.ok_or_else(|| self.ended())?;
            if line == HELLO {
                return Ok(());
            }
            if let Some(why) = line.strip_prefix(FAILED) {
                return Err(self.not_installed(why));
            }
        }
    }

    fn not_installed(&mut self, why: &str) -> SshError {
        let _ = self.child.wait();
        let said = self.all_said();
        let detail = said.last().map(|line| line.trim_start_matches("onward: "));
        SshError::NotInstalled(match detail {
            Some(detail) => format!("{why}: {detail}"),
            None => why.to_owned(),
        })
    }

    /// `ssh` has ended, or is about to.
    fn ended(&mut self) -> SshError {
        let _ = self.child.kill();
        let _ = self.child.wait();
        SshError::Refused { said: self.all_said() }
    }

    /// What was printed on standard error, to its end.
    fn all_said(&mut self) -> Vec<String> {
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        self.said.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn give_up(&mut self, error: SshError) -> SshError {
        let _ = self.child.kill();
        let _ = self.child.wait();
        error
    }

    fn finish(mut self) -> Result<Connection, SshError> {
        let stdin = self.child.stdin.take().ok_or(SshError::Bare)?;
        let reader = self.lines.into_reader();
        let session = Session::opener(reader, stdin);
        Ok(Connection { session, child: Mutex::new(self.child) })
    }
}

/// Keeps the last lines that `ssh` prints.
fn listen(stderr: ChildStderr, said: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        // Lines like `Connection closed` come after what matters; those that frame a warning matter
        // to nobody.
        if line.is_empty() || line.starts_with('@') {
            continue;
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == LINES_KEPT {
            said.pop_front();
        }
        said.push_back(line);
    }
}

/// Lines of a pipe, each waited for with a limit of time. A thread reads while somebody waits; what
/// follows the last line that was wanted stays in the pipe for the session.
struct Lines {
    reader: Arc<Mutex<BufReader<ChildStdout>>>,
}

impl Lines {
    fn of(stdout: ChildStdout) -> Self {
        Self { reader: Arc::new(Mutex::new(BufReader::new(stdout))) }
    }

    /// The next line; `None` at the end.
    fn next(&self, within: Duration) -> Result<Option<String>, SshError> {
        let (sender, receiver) = channel();
        let reader = Arc::clone(&self.reader);
        let began = Instant::now();
        thread::spawn(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let mut line = Vec::new();
            let read = (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            drop(reader);
            let _ = sender.send(read.map(|count| (count > 0).then_some(line)));
        });
        match receiver.recv_timeout(within) {
            Ok(Ok(line)) => {
                Ok(line.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()))
            }
            Ok(Err(error)) => Err(SshError::here(&error)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(SshError::Silent { seconds: began.elapsed().as_secs() })
            }
        }
    }

    fn into_reader(self) -> SharedReader {
        SharedReader(self.reader)
    }
}

/// The rest of the pipe, with what was read ahead.
struct SharedReader(Arc<Mutex<BufReader<ChildStdout>>>);

impl Read for SharedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}
