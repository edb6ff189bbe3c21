//! Questions to whoever sits at the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::args::Global;
use super::interrupt;

/// How often it is looked whether Ctrl-C was pressed.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// An answer is a word or a name.
const ANSWER_BYTES_MAX: usize = 1024;

/// Whether there is somebody to ask.
pub fn can_ask(global: &Global) -> bool {
    !global.no_input && !global.json && io::stdin().is_terminal()
}

/// Whether the answer is yes.
pub fn says_yes(question: &str) -> bool {
    matches!(ask(question).as_deref(), Some("yes" | "y"))
}

/// Asks, and returns the line that is typed, without blanks around it. None at the end of the input
/// and after Ctrl-C: where interrupts are [watched](interrupt::watch) they do not end the command,
/// and nobody would look at them while it waits here.
pub fn ask(question: &str) -> Option<String> {
    print!("{question}");
    let _ = io::stdout().flush();
    let line = typed();
    if line.is_none() {
        println!();
    }
    line
}

/// Reads past the buffer of the standard library: what is in there cannot be waited for.
fn typed() -> Option<String> {
    let (input, before) = (io::stdin(), interrupt::pressed());
    let mut line = Vec::new();
    loop {
        let mut awaited = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut awaited, Some(&LOOK_EVERY)) {
            _ if interrupt::pressed() > before => return None,
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        let mut byte = [0];
        match rustix::io::read(&input, &mut byte) {
            Ok(0) => return None,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) if line.len() < ANSWER_BYTES_MAX => line.extend(byte),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&line).trim().to_owned())
}
