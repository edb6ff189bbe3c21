//! Asking for values without showing them.
//!
//! The terminal is mute before the first question is printed and until the last is answered: what a
//! fast typist or a program answers is never shown, and nothing of it is lost.

use std::fs::File;
use std::io::{self, Read, Write};

use onward_core::secrets::VALUE_BYTES_MAX;
use onward_secret::Secret;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::{Zeroize, Zeroizing};

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// The terminal of the person, which shows nothing; when this is dropped it is as it was.
pub(super) struct Prompt {
    terminal: File,
    before: Termios,
}

impl Prompt {
    /// Shows nothing, and gives every key as it is pressed: also Ctrl-C, which would otherwise end
    /// the command and leave the terminal mute.
    pub(super) fn open() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed already stays: `Flush` would throw away what is typed ahead.
        tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }

    /// Asks for one value; none when the person gave up.
    pub(super) fn ask(&mut self, question: &str) -> io::Result<Option<Secret>> {
        self.terminal.write_all(question.as_bytes())?;
        let value = read(&self.terminal);
        self.terminal.write_all(b"\n")?;
        value
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads up to the end of the line, with the keys that people correct themselves with.
fn read(mut from: impl Read) -> io::Result<Option<Secret>> {
    let mut value = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 1));
    let mut key = Zeroizing::new([0_u8; 1]);
    while from.read(&mut *key)? == 1 {
        match key[0] {
            b'\n' | b'\r' => return Ok(Some(Secret::new(value.to_vec()))),
            CTRL_C => return Ok(None),
            CTRL_D if value.is_empty() => return Ok(None),
            CTRL_D => return Ok(Some(Secret::new(value.to_vec()))),
            CTRL_U => {
                value.zeroize();
                value.reserve(VALUE_BYTES_MAX + 1);
            }
            byte if BACKSPACE.contains(&byte) => backspace(&mut value),
            // One more than the longest is enough to be refused.
            _ if value.len() > VALUE_BYTES_MAX => {}
            byte => value.push(byte),
        }
    }
    Ok(None)
}

/// Takes the last character away, all its bytes.
fn backspace(value: &mut Vec<u8>) {
    while let Some(byte) = value.pop() {
        if byte & 0xc0 != 0x80 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<Vec<u8>> {
        read(keys).unwrap().map(|value| value.expose().to_vec())
    }

    #[test]
    fn keys_do_what_people_expect() {
        assert_eq!(typed(b"hunter2\n"), Some(b"hunter2".to_vec()));
        assert_eq!(typed(b"hunter3\x7f2\r"), Some(b"hunter2".to_vec()));
        assert_eq!(typed("né\u{7f}o\n".as_bytes()), Some(b"no".to_vec()));
        assert_eq!(typed(b"wrong\x15right\n"), Some(b"right".to_vec()));
        assert_eq!(typed(b"\x7f\x7fa\n"), Some(b"a".to_vec()));
        assert_eq!(typed(b"half\x04"), Some(b"half".to_vec()));
        for given_up in [b"half\x03\n".as_slice(), b"\x04", b"no end"] {
            assert_eq!(typed(given_up), None);
        }
    }
}
