//! Finds the end of a chunked body, strictly, without keeping any of it.

/// The body is not chunked as RFC 9112 says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

/// Most bytes of chunk extensions in one body, and of its trailer: nobody uses them but attackers.
const MAX_EXTRAS: u32 = 4 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    /// Some apps pad the size with spaces.
    Padding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// Follows a chunked body from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    left: u64,
    extras: u32,
    padded: bool,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { state: State::SizeStart, left: 0, extras: 0, padded: false }
    }

    /// The same, but spaces may follow a size, as some apps have them: nobody behind the proxy
    /// reads an app's chunks, so they can't be read in two ways.
    pub(crate) fn of_answer() -> Self {
        Self { padded: true, ..Self::new() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// Reads on in `bytes`; returns how many of them belong to this body (all, unless it ends).
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= step as u64;
                at += step;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Reads on up to and over the next data: how many bytes come before it, and how many bytes of
    /// `bytes` it has (none when the body ends first, or `bytes` do). Adds the trailer's lines to
    /// `trailer`, each with its line feed.
    pub(crate) fn next_data(
        &mut self,
        bytes: &[u8],
        trailer: &mut Vec<u8>,
    ) -> Result<(usize, usize), BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= step as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok((at, step));
            }
            let was = self.state;
            self.state = self.step(bytes[at])?;
            if self.state == State::Trailer || was == State::TrailerLf {
                trailer.push(bytes[at]);
            }
            at += 1;
        }
        Ok((at, 0))
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        match (self.state, byte) {
            (State::SizeStart | State::Size, byte) if byte.is_ascii_hexdigit() => self.digit(byte),
            (State::Size | State::Padding, b' ' | b'\t') if self.padded => {
                self.extra(State::Padding)
            }
            (State::Size | State::Padding, b';') => Ok(State::Extension),
            (State::Size | State::Padding | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, byte) if is_text(byte) => self.extra(State::Extension),
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::TrailerStart),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, byte) if byte > b' ' && is_text(byte) => {
                self.extra(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::Trailer, byte) if is_text(byte) => self.extra(State::Trailer),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf, b'\n') => Ok(State::End),
            _ => Err(BadChunk),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, BadChunk> {
        let digit = (byte as char).to_digit(16).ok_or(BadChunk)?;
        if self.left >> 56 != 0 {
            return Err(BadChunk);
        }
        self.left = (self.left << 4) | u64::from(digit);
        Ok(State::Size)
    }

    fn extra(&mut self, state: State) -> Result<State, BadChunk> {
        self.extras += 1;
        if self.extras > MAX_EXTRAS { Err(BadChunk) } else { Ok(state) }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(body: &[u8], piece: usize) -> Result<(usize, bool), BadChunk> {
        let (mut chunks, mut taken) = (Chunks::new(), 0);
        for part in body.chunks(piece) {
            taken += chunks.follow(part)?;
        }
        Ok((taken, chunks.is_over()))
    }

    #[test]
    fn finds_the_end_in_any_pieces() {
        let body = b"5\r\nhello\r\n1A;x=\"y\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX-T: 1\r\n\r\n";
        let mut more = body.to_vec();
        more.extend_from_slice(b"GET / HTTP/1.1\r\n");
        for piece in 1..more.len() {
            assert_eq!(follow(&more, piece), Ok((body.len(), true)), "in pieces of {piece}");
        }
        assert_eq!(follow(b"0\r\n\r\n", 9), Ok((5, true)));
        assert_eq!(follow(b"3\r\nab", 9), Ok((5, false)));
    }

    #[test]
    fn refuses_what_others_might_read_differently() {
        for body in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b"5\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b"5;\n\r\n",
            b"0\r\n\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(follow(body, 99), Err(BadChunk), "{}", body.escape_ascii());
        }
    }
}
