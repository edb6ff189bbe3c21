//! A command with its input and output over one connection: what follows `attached`.
//!
//! Both sides send frames: a byte that says which, the length of the rest as four bytes (the
//! largest first), the rest. Nothing but bytes travels, so a connection through SSH does as well
//! as a socket of this machine.
//!
//! ```text
//! client ─ input · input end · resize · signal ─►  agent ──► program
//!        ◄─ output · error · credit · ended ──────
//! ```
//!
//! # Guarantees
//! - Bytes arrive as they were sent: nothing is translated, nothing is a line.
//! - Nothing piles up. A client sends no more input than it has credit for, so the agent never has
//!   to stop listening for signals; the agent stops reading from a program whose output is not
//!   taken.
//! - `ended` is the last frame. A connection that ends before it leaves the end of the program
//!   unknown.

use serde::{Deserialize, Serialize};

/// The longest content of a frame, in bytes: one read from a pipe.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// How much input may be on its way to a program that has not taken it, in bytes. A client begins
/// with this credit.
pub const INPUT_BYTES_MAX: usize = 256 << 10;
/// How much output may wait for the client in the agent, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Kind and length.
const HEAD: usize = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// For the program's standard input.
    Input(Vec<u8>),
    /// There is no more input.
    InputEnd,
    /// The terminal has another size.
    Resize(Size),
    /// A signal for the program, by its name without `SIG`.
    Signal(String),
    /// From the program's standard output, or its terminal.
    Output(Vec<u8>),
    /// From the program's standard error.
    Error(Vec<u8>),
    /// So many bytes of input were taken: so many more may be sent.
    Credit(u32),
    /// The program ended.
    Ended(Ended),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// How a program ended: by itself, or by a signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// The number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

impl Ended {
    /// What a shell would say: the status, or 128 and the signal's number.
    pub fn code(&self) -> u8 {
        let code = self.status.or_else(|| self.signal.map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }
}

/// Bytes that are no frame: the other side speaks something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Nobody knows this kind.
    #[error("a frame of an unknown kind, {0}")]
    Kind(u8),
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes")]
    TooLong(u32),
    /// Its content is not what its kind says.
    #[error("a frame of kind {0} with impossible content")]
    Content(u8),
}

impl Frame {
    /// Appends the frame to `bytes`. Content beyond [`FRAME_BYTES_MAX`] has to be sent in several.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, content): (u8, &[u8]) = match self {
            Self::Input(content) => (1, content),
            Self::InputEnd => (2, &[]),
            Self::Resize(size) => {
                let [a, b] = size.columns.to_be_bytes();
                let [c, d] = size.rows.to_be_bytes();
                return put(bytes, 3, &[a, b, c, d]);
            }
            Self::Signal(name) => (4, name.as_bytes()),
            Self::Output(content) => (5, content),
            Self::Error(content) => (6, content),
            Self::Credit(count) => return put(bytes, 7, &count.to_be_bytes()),
            Self::Ended(ended) => {
                let text = serde_json::to_vec(ended).expect("two numbers are always written");
                return put(bytes, 8, &text);
            }
        };
        put(bytes, kind, content);
    }

    fn decode(kind: u8, content: &[u8]) -> Result<Self, BadFrame> {
        let bad = || BadFrame::Content(kind);
        Ok(match kind {
            1 => Self::Input(content.to_vec()),
            2 => Self::InputEnd,
            3 => match *content {
                [a, b, c, d] => Self::Resize(Size {
                    columns: u16::from_be_bytes([a, b]),
                    rows: u16::from_be_bytes([c, d]),
                }),
                _ => return Err(bad()),
            },
            4 => Self::Signal(std::str::from_utf8(content).map_err(|_| bad())?.to_owned()),
            5 => Self::Output(content.to_vec()),
            6 => Self::Error(content.to_vec()),
            7 => Self::Credit(u32::from_be_bytes(content.try_into().map_err(|_| bad())?)),
            8 => Self::Ended(serde_json::from_slice(content).map_err(|_| bad())?),
            other => return Err(BadFrame::Kind(other)),
        })
    }
}

fn put(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    debug_assert!(content.len() <= FRAME_BYTES_MAX, "frames are cut by who makes them");
    bytes.push(kind);
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(content);
}

/// Finds the frames in bytes that arrive in pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the first frame that was not given begins.
    from: usize,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.from > 0 {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, once all of it arrived.
    ///
    /// # Errors
    /// [`BadFrame`]; then nothing that follows can be understood.
    pub fn take_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        let rest = &self.bytes[self.from..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let length = u32::from_be_bytes(length);
        let content = usize::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
        let Some(content) = content else { return Err(BadFrame::TooLong(length)) };
        let Some(content) = rest.get(..content) else { return Ok(None) };
        let frame = Frame::decode(kind, content)?;
        self.from += HEAD + content.len();
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        vec![
            Frame::Input(vec![0, 255, b'\n']),
            Frame::Input(Vec::new()),
            Frame::InputEnd,
            Frame::Resize(Size { columns: 300, rows: 2 }),
            Frame::Signal("INT".to_owned()),
            Frame::Output(vec![7; FRAME_BYTES_MAX]),
            Frame::Error(b"no".to_vec()),
            Frame::Credit(70_000),
            Frame::Ended(Ended { status: Some(3), signal: None }),
        ]
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut bytes = Vec::new();
        all().iter().for_each(|frame| frame.encode(&mut bytes));
        for piece in [1, 2, 7, 4096, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                while let Some(frame) = decoder.take_frame().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, all(), "in pieces of {piece}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let cases: [(&[u8], BadFrame); 5] = [
            (&[99, 0, 0, 0, 0], BadFrame::Kind(99)),
            (&[5, 0, 1, 0, 1], BadFrame::TooLong(65_537)),
            (&[3, 0, 0, 0, 1, 9], BadFrame::Content(3)),
            (&[4, 0, 0, 0, 1, 0xff], BadFrame::Content(4)),
            (b"\x08\x00\x00\x00\x02no", BadFrame::Content(8)),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.take_frame(), Err(expected));
        }
    }

    #[test]
    fn an_end_has_the_code_of_a_shell() {
        let of = |status, signal| Ended { status, signal }.code();
        assert_eq!([of(Some(0), None), of(Some(7), None), of(None, Some(15))], [0, 7, 143]);
        assert_eq!(of(None, None), 255);
    }
}
