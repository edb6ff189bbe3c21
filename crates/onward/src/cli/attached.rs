//! Staying with a command that runs on a server: its terminal is ours, or its pipes are.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process;
use std::sync::Arc;
use std::thread;

use onward_server::attached::{Attached, Left, Output, Speaker};
use onward_server::protocol::Terminal;
use onward_server::stream::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::screen::Screen;

/// Ctrl-C goes to the command; so often in a row without an answer, and it is left.
const INTERRUPTS_MAX: u32 = 3;
/// What a shell says of a command whose output nobody reads.
const UNREAD: u8 = 141;

/// The terminal that a command gets: one like ours, when standard input and output are one.
pub fn terminal(screen: &Screen, refused: bool) -> Option<Terminal> {
    let ours = io::stdin().is_terminal() && io::stdout().is_terminal();
    if refused || screen.is_json() || !ours {
        return None;
    }
    let kind = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    Some(Terminal { kind, size: size() })
}

fn size() -> Size {
    let size = tcgetwinsize(io::stdout()).map(|size| (size.ws_col, size.ws_row));
    let (columns, rows) = size.ok().filter(|(columns, _)| *columns > 0).unwrap_or((80, 24));
    Size { columns, rows }
}

/// Stays until the command ends. Its exit code becomes ours.
pub fn stay(attached: Attached, in_terminal: bool, screen: &Screen) -> Result<Exit, Left> {
    let raw = if in_terminal { Raw::enter().ok().map(Arc::new) } else { None };
    pass_signals_on(attached.speaker(), raw.clone());
    let mut output = Passed { screen, out: Lines::new("stdout"), err: Lines::new("stderr") };
    let result = attached.carry(io::stdin(), &mut output);
    output.flush();
    if let Some(raw) = raw {
        raw.leave();
    }
    match result {
        Ok(ended) => Ok(Exit::Program(ended.code())),
        Err(Left::Unread(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Exit::Program(UNREAD))
        }
        Err(left) => Err(left),
    }
}

/// Our terminal while a command has it: every key goes there, Ctrl-C too.
#[derive(Debug)]
struct Raw(Termios);

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }

    fn leave(&self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}

/// Passes signals and changes of the window on, until this process ends.
fn pass_signals_on(speaker: Speaker, raw: Option<Arc<Raw>>) {
    // They are taken over here: what comes before the thread runs is passed on too. Without signals
    // of its own the command is left as by any other program.
    let Ok((runtime, taken)) = Taken::all() else { return };
    thread::spawn(move || {
        let _ = runtime.block_on(pass_on(taken, &speaker, raw.as_deref()));
    });
}

/// The signals that are the command's.
struct Taken {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    window: Signal,
}

impl Taken {
    fn all() -> io::Result<(Runtime, Self)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let taken = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            window: signal(SignalKind::window_change())?,
        };
        drop(entered);
        Ok((runtime, taken))
    }
}

async fn pass_on(taken: Taken, speaker: &Speaker, raw: Option<&Raw>) -> io::Result<()> {
    let Taken { mut interrupt, mut terminate, mut hang_up, mut quit, mut window } = taken;
    let mut interrupts = 0;
    loop {
        let (name, number) = tokio::select! {
            _ = interrupt.recv() => ("INT", 2),
            _ = terminate.recv() => ("TERM", 15),
            _ = hang_up.recv() => ("HUP", 1),
            _ = quit.recv() => ("QUIT", 3),
            _ = window.recv() => {
                speaker.resize(size())?;
                continue;
            }
        };
        if name == "INT" {
            interrupts += 1;
        }
        // In a terminal people type signals; who sends one to us means us.
        if raw.is_some() || interrupts >= INTERRUPTS_MAX {
            if let Some(raw) = raw {
                raw.leave();
            }
            process::exit(128 + number);
        }
        speaker.signal(name)?;
    }
}

/// Passes on what a command prints: as it is, or as JSON lines.
struct Passed<'a> {
    screen: &'a Screen,
    out: Lines,
    err: Lines,
}

impl Output for Passed<'_> {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.screen.is_json() {
            self.out.push(bytes, self.screen);
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    fn error(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.screen.is_json() {
            self.err.push(bytes, self.screen);
            return Ok(());
        }
        io::stderr().lock().write_all(bytes)
    }
}

impl Passed<'_> {
    fn flush(&mut self) {
        for lines in [&mut self.out, &mut self.err] {
            if !lines.part.is_empty() {
                lines.push(b"\n", self.screen);
            }
        }
    }
}

/// The longest line of one JSON object, in bytes; what is longer is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Lines of a stream, one JSON object each.
struct Lines {
    stream: &'static str,
    part: Vec<u8>,
}

impl Lines {
    const fn new(stream: &'static str) -> Self {
        Self { stream, part: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8], screen: &Screen) {
        for byte in bytes {
            if *byte != b'\n' {
                self.part.push(*byte);
            }
            if *byte == b'\n' || self.part.len() >= LINE_BYTES_MAX {
                let text = String::from_utf8_lossy(&self.part);
                screen.event(&json!({"event": "line", "stream": self.stream, "text": text}));
                self.part.clear();
            }
        }
    }
}
