//! Any number of conversations over one pair of pipes: what goes through an SSH connection.
//!
//! The command that wants something of a server has one child process `ssh`, which runs
//! `onward agent stdio` there. Both ends speak [`wire`]: a conversation is opened by the side of the
//! command, and is a socket at both ends, so whoever speaks to the agent of this machine speaks to
//! one behind SSH with the same code.
//!
//! ```text
//!  Client ── socket ──┐                                   ┌── agent.sock ── agent
//!  Client ── socket ──┤ Session ══ ssh ══ Session (stdio) ┤
//!  Client ── socket ──┘                                   └── agent.sock
//! ```
//!
//! # Guarantees
//! - Bytes of one conversation arrive in their order, or the conversation ends.
//! - What was said before an end arrives, also when its speaker has left without listening.
//! - A conversation that is not read holds up no other: each has a window of its own.
//! - When the pipes end, every conversation ends: nobody waits for an answer that cannot come.
//! - So they do within [`SILENT_MAX`] when the side that opens them is gone without a word: a laptop
//!   that was closed, a network that was cut.

mod stdio;
mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use stdio::stdio;
pub use wire::HELLO;
use wire::{CONTENT_BYTES_MAX, Frame, WINDOW_BYTES};

/// How many conversations one session has at most at a time.
const CONVERSATIONS_MAX: usize = 256;

/// How often the side that opens conversations says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// The longest silence of a side that has said so before.
pub const SILENT_MAX: Duration = Duration::from_secs(8);

/// What answers when the other side opens a conversation.
type Accept = dyn Fn() -> io::Result<UnixStream> + Send + Sync;

/// One end of a session. It ends when it is dropped, or when the pipes do.
pub struct Session {
    shared: Arc<Shared>,
    next: AtomicU32,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

struct Shared {
    writer: Mutex<Box<dyn Write + Send>>,
    state: Mutex<State>,
    /// Rung when the session is over.
    ended: Condvar,
    accept: Option<Box<Accept>>,
}

#[derive(Default)]
struct State {
    conversations: HashMap<u32, Arc<Conversation>>,
    over: bool,
    /// When the other side gave its last sign of life, when it gives any.
    beat: Option<Instant>,
}

/// One conversation: the end of the socket that is ours, and what may still be sent.
struct Conversation {
    socket: UnixStream,
    /// What has come for it; its own thread writes it to the socket.
    incoming: Mutex<Option<Sender<Vec<u8>>>>,
    window: Mutex<Window>,
    opened: Condvar,
    /// How many of its two directions have ended.
    ended: AtomicU32,
    /// Whoever is at our socket takes nothing any more.
    refuses: AtomicBool,
}

struct Window {
    bytes: usize,
    closed: bool,
}

impl Session {
    /// The end that opens conversations, over the pipes of a child process.
    pub fn opener(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        let session = Self::begin(reader, Box::new(writer), None);
        let beating = Arc::downgrade(&session.shared);
        thread::spawn(move || {
            while let Some(shared) = beating.upgrade().filter(|shared| shared.beat()) {
                drop(shared);
                thread::sleep(BEAT_EVERY);
            }
        });
        session
    }

    /// The end where conversations arrive; `accept` makes the socket of each.
    pub fn acceptor(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        accept: impl Fn() -> io::Result<UnixStream> + Send + Sync + 'static,
    ) -> Self {
        Self::begin(reader, Box::new(writer), Some(Box::new(accept)))
    }

    fn begin(
        reader: impl Read + Send + 'static,
        writer: Box<dyn Write + Send>,
        accept: Option<Box<Accept>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            state: Mutex::default(),
            ended: Condvar::new(),
            accept,
        });
        let reading = Arc::clone(&shared);
        thread::spawn(move || {
            reading.read(reader);
            reading.end();
        });
        Self { shared, next: AtomicU32::new(1) }
    }

    /// Opens a conversation.
    ///
    /// # Errors
    /// When the session is over, or has too many conversations.
    pub fn open(&self) -> io::Result<UnixStream> {
        let (own, theirs) = UnixStream::pair()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.shared.add(id, own)?;
        self.shared.send(&Frame::Open(id))?;
        Ok(theirs)
    }

    /// Whether the pipes have ended.
    pub fn is_over(&self) -> bool {
        locked(&self.shared.state).over
    }

    /// Waits until the pipes end, or the other side is silent for too long.
    pub fn wait(&self) {
        let mut state = locked(&self.shared.state);
        while !state.over {
            if state.beat.is_some_and(|beat| beat.elapsed() >= SILENT_MAX) {
                drop(state);
                return self.shared.end();
            }
            let waited = self.shared.ended.wait_timeout(state, BEAT_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut writer = locked(&self.writer);
        frame.write(&mut *writer)
    }

    /// Says that this side is there, and whether the session goes on.
    fn beat(&self) -> bool {
        !locked(&self.state).over && self.send(&Frame::BEAT).is_ok()
    }

    /// Whatever comes is a sign of life, of a side that gives some.
    fn heard(&self, frame: &Frame) {
        let mut state = locked(&self.state);
        if *frame == Frame::BEAT || state.beat.is_some() {
            state.beat = Some(Instant::now());
        }
    }

    /// Reads frames until the pipe ends or something else than a frame comes. Nothing here waits for
    /// a conversation.
    fn read(self: &Arc<Self>, mut reader: impl Read) {
        while let Ok(Some(frame)) = Frame::read(&mut reader) {
            self.heard(&frame);
            match frame {
                Frame::Open(id) => self.accepted(id),
                Frame::Data(id, bytes) => self.deliver(id, bytes),
                Frame::Credit(id, bytes) => {
                    if let Some(conversation) = self.conversation(id) {
                        conversation.credit(bytes as usize);
                    }
                }
                Frame::End(id) => {
                    if let Some(conversation) = self.conversation(id) {
                        // Its thread writes what is left, and then ends that half of the socket.
                        locked(&conversation.incoming).take();
                    }
                }
                Frame::Gone(id) => {
                    let conversation = locked(&self.state).conversations.remove(&id);
                    if let Some(conversation) = conversation {
                        conversation.leave();
                    }
                }
            }
        }
    }

    fn accepted(self: &Arc<Self>, id: u32) {
        let Some(accept) = &self.accept else { return };
        let accepted = accept().and_then(|socket| self.add(id, socket));
        if accepted.is_err() {
            // Whoever opened it sees it end.
            let _ = self.send(&Frame::Gone(id));
        }
    }

    fn add(self: &Arc<Self>, id: u32, socket: UnixStream) -> io::Result<()> {
        let (incoming, arrived) = channel();
        let conversation = Arc::new(Conversation {
            socket,
            incoming: Mutex::new(Some(incoming)),
            window: Mutex::new(Window { bytes: WINDOW_BYTES, closed: false }),
            opened: Condvar::new(),
            ended: AtomicU32::new(0),
            refuses: AtomicBool::new(false),
        });
        {
            let mut state = locked(&self.state);
            if state.over {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if state.conversations.len() >= CONVERSATIONS_MAX {
                return Err(io::Error::other("too many conversations in one SSH connection"));
            }
            state.conversations.insert(id, Arc::clone(&conversation));
        }
        let (outward, inward) = (Arc::clone(self), Arc::clone(self));
        let (speaks, hears) = (Arc::clone(&conversation), conversation);
        thread::spawn(move || outward.carry_out(id, &speaks));
        thread::spawn(move || inward.carry_in(id, &hears, &arrived));
        Ok(())
    }

    /// From our socket to the other side, as far as its window allows.
    fn carry_out(&self, id: u32, conversation: &Conversation) {
        let mut buffer = vec![0; CONTENT_BYTES_MAX];
        loop {
            let room = conversation.room();
            if room == 0 {
                return;
            }
            let mut socket = &conversation.socket;
            match socket.read(&mut buffer[..room.min(CONTENT_BYTES_MAX)]) {
                Ok(0) if conversation.refuses.load(Ordering::Acquire) => {
                    return self.gone(id);
                }
                Ok(0) => {
                    let _ = self.send(&Frame::End(id));
                    return self.direction_ended(id, conversation);
                }
                Ok(count) => {
                    conversation.spend(count);
                    if self.send(&Frame::Data(id, buffer[..count].to_vec())).is_err() {
                        return self.end();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.gone(id),
            }
        }
    }

    /// Whoever is at our socket is gone, and everything was said.
    fn gone(&self, id: u32) {
        let _ = self.send(&Frame::Gone(id));
        self.drop_conversation(id);
    }

    /// From the other side to our socket. What was taken is given back as window.
    fn carry_in(&self, id: u32, conversation: &Conversation, arrived: &Receiver<Vec<u8>>) {
        while let Ok(bytes) = arrived.recv() {
            let mut socket = &conversation.socket;
            if !conversation.refuses.load(Ordering::Acquire) && socket.write_all(&bytes).is_err() {
                conversation.refuses.store(true, Ordering::Release);
                if conversation.ended.load(Ordering::Acquire) > 0 {
                    return self.gone(id);
                }
                // What it said last is still to be read; nothing more is written.
            }
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            if self.send(&Frame::Credit(id, count)).is_err() {
                return self.end();
            }
        }
        let _ = conversation.socket.shutdown(Shutdown::Write);
        self.direction_ended(id, conversation);
    }

    /// With the second direction the conversation is over.
    fn direction_ended(&self, id: u32, conversation: &Conversation) {
        if conversation.ended.fetch_add(1, Ordering::AcqRel) == 1 {
            self.drop_conversation(id);
        }
    }

    fn deliver(&self, id: u32, bytes: Vec<u8>) {
        let Some(conversation) = self.conversation(id) else { return };
        if let Some(incoming) = &*locked(&conversation.incoming) {
            // Its thread may have ended because nobody reads.
            let _ = incoming.send(bytes);
        }
    }

    fn conversation(&self, id: u32) -> Option<Arc<Conversation>> {
        locked(&self.state).conversations.get(&id).cloned()
    }

    fn drop_conversation(&self, id: u32) {
        let conversation = locked(&self.state).conversations.remove(&id);
        if let Some(conversation) = conversation {
            conversation.close();
        }
    }

    fn end(&self) {
        let conversations: Vec<_> = {
            let mut state = locked(&self.state);
            state.over = true;
            state.conversations.drain().collect()
        };
        self.ended.notify_all();
        for (_, conversation) in conversations {
            conversation.close();
        }
        // The other side sees the end of the pipe.
        *locked(&self.writer) = Box::new(io::sink());
    }
}

impl Conversation {
    /// Waits until something may be sent; 0 when nothing ever will be.
    fn room(&self) -> usize {
        let mut window = locked(&self.window);
        while window.bytes == 0 && !window.closed {
            window = self.opened.wait(window).unwrap_or_else(PoisonError::into_inner);
        }
        if window.closed { 0 } else { window.bytes }
    }

    fn spend(&self, count: usize) {
        let mut window = locked(&self.window);
        window.bytes = window.bytes.saturating_sub(count);
    }

    fn credit(&self, count: usize) {
        let mut window = locked(&self.window);
        window.bytes = window.bytes.saturating_add(count).min(WINDOW_BYTES);
        self.opened.notify_all();
    }

    /// The other side is gone: what has come is written, and nothing more is read.
    fn leave(&self) {
        locked(&self.incoming).take();
        locked(&self.window).closed = true;
        self.opened.notify_all();
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    fn close(&self) {
        locked(&self.incoming).take();
        locked(&self.window).closed = true;
        self.opened.notify_all();
        // Somebody who has closed it already is no trouble.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
