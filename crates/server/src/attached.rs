//! The client's side of a command that runs on a server: input goes there, output comes back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::client::{Client, ClientError};
use crate::protocol::{Answer, Request, RunRequest};
use crate::stream::{Decoder, Ended, FRAME_BYTES_MAX, Frame, INPUT_BYTES_MAX, Size};

/// What a server did with a command.
#[derive(Debug)]
pub enum Begun {
    /// It runs, and its input and output are ours.
    Attached(Attached),
    /// It runs and goes on by itself, under this name.
    Detached(String),
    /// It could not be started.
    NotStarted {
        /// Why, in words.
        text: String,
        /// What a shell would exit with.
        status: u8,
    },
}

/// A command that runs on a server.
#[derive(Debug)]
pub struct Attached {
    /// Its name, as `run.3`.
    pub name: String,
    reader: BufReader<UnixStream>,
    speaker: Speaker,
}

/// Tells a running command something, from any thread.
#[derive(Debug, Clone)]
pub struct Speaker {
    writer: Arc<Mutex<UnixStream>>,
}

impl Speaker {
    /// The terminal has another size.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        self.tell(&Frame::Resize(size))
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        self.tell(&Frame::Signal(name.to_owned()))
    }

    fn tell(&self, frame: &Frame) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }
}

/// Where what a command prints goes.
pub trait Output {
    /// It printed to its standard output, or its terminal.
    ///
    /// # Errors
    /// When nobody reads any more; then the command is left.
    fn output(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// It printed to its standard error.
    ///
    /// # Errors
    /// As for `output`.
    fn error(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why a command that ran was left.
#[derive(Debug, thiserror::Error)]
pub enum Left {
    /// The connection ended: the agent did, or the server. How the command went is unknown.
    #[error("the connection to the command was lost: {0}")]
    Lost(io::Error),
    /// What it printed could not be passed on.
    #[error("what it printed could not be passed on: {0}")]
    Unread(io::Error),
}

impl Client {
    /// Runs a command in the release that serves.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when nothing serves, and those of every request.
    pub fn run(mut self, request: RunRequest) -> Result<Begun, ClientError> {
        match self.ask(&Request::Run(Box::new(request)), 0)? {
            Answer::Attached { name } => {
                let reader = self.into_stream();
                reader.get_ref().set_read_timeout(None)?;
                reader.get_ref().set_write_timeout(None)?;
                let writer = Arc::new(Mutex::new(reader.get_ref().try_clone()?));
                Ok(Begun::Attached(Attached { name, reader, speaker: Speaker { writer } }))
            }
            Answer::Detached { name } => Ok(Begun::Detached(name)),
            Answer::NotStarted { text, status } => Ok(Begun::NotStarted { text, status }),
            other => Err(ClientError::Nonsense(serde_json::to_string(&other).unwrap_or_default())),
        }
    }
}

/// How much input may still be sent; the sender waits for more.
#[derive(Debug, Default)]
struct Credit {
    left: Mutex<usize>,
    more: Condvar,
}

impl Credit {
    fn add(&self, count: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(count);
        self.more.notify_all();
    }

    /// Waits until there is some, and takes at most `wanted`.
    fn take(&self, wanted: usize) -> usize {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while *left == 0 {
            left = self.more.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = wanted.min(*left);
        *left -= taken;
        taken
    }
}

impl Attached {
    /// Tells it something while it runs.
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    /// Passes everything on, both ways, until it ends. The thread that reads `input` is left behind
    /// when it waits for more.
    ///
    /// # Errors
    /// [`enum@Left`]; the server then ends the command.
    pub fn carry(
        mut self,
        input: impl Read + Send + 'static,
        output: &mut dyn Output,
    ) -> Result<Ended, Left> {
        let credit = Arc::new(Credit::default());
        credit.add(INPUT_BYTES_MAX);
        let (speaker, own) = (self.speaker.clone(), Arc::clone(&credit));
        thread::spawn(move || send(input, &speaker, &own));
        let mut decoder = Decoder::default();
        loop {
            let bytes = self.reader.fill_buf().map_err(Left::Lost)?;
            if bytes.is_empty() {
                return Err(Left::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            decoder.push(bytes);
            let count = bytes.len();
            self.reader.consume(count);
            let wrong = |error| Left::Lost(io::Error::new(io::ErrorKind::InvalidData, error));
            while let Some(frame) = decoder.take_frame().map_err(wrong)? {
                match frame {
                    Frame::Output(bytes) => output.output(&bytes).map_err(Left::Unread)?,
                    Frame::Error(bytes) => output.error(&bytes).map_err(Left::Unread)?,
                    Frame::Credit(count) => credit.add(usize::try_from(count).unwrap_or(0)),
                    Frame::Ended(ended) => return Ok(ended),
                    Frame::Input(_) | Frame::InputEnd | Frame::Resize(_) | Frame::Signal(_) => {}
                }
            }
        }
    }
}

/// Sends input until there is no more, or nobody takes it.
fn send(mut input: impl Read, speaker: &Speaker, credit: &Credit) {
    let mut bytes = vec![0; FRAME_BYTES_MAX];
    loop {
        let count = match input.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(count) => count,
            Err(_) => 0,
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(credit.take(rest.len()));
            if speaker.tell(&Frame::Input(now.to_vec())).is_err() {
                return;
            }
            rest = later;
        }
        if count == 0 {
            // Who is gone needs no end of input.
            let _ = speaker.tell(&Frame::InputEnd);
            return;
        }
    }
}
