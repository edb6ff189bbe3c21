//! The frames of a session: a byte that says which, the number of the conversation and the length
//! of the rest as four bytes each (the largest first), the rest.

use std::io::{self, Read, Write};

/// The line that the server's side prints before its first frame. What a shell prints before it is
/// no part of the session.
pub const HELLO: &str = "onward-session 1";
/// The longest content of a frame, in bytes.
pub(super) const CONTENT_BYTES_MAX: usize = 64 << 10;
/// How much of one conversation may be on its way, in bytes: 100 Mbit/s at 80 ms of distance.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
/// Kind, conversation, length.
const HEAD: usize = 9;

/// One frame; each is about a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// It begins.
    Open(u32),
    /// Bytes of it.
    Data(u32, Vec<u8>),
    /// So many bytes of it were taken, and as many more may be sent.
    Credit(u32, u32),
    /// This side sends no more of it.
    End(u32),
    /// It is over in both directions.
    Gone(u32),
}

impl Frame {
    /// The sign of life of the side that opens conversations: room for a conversation that there
    /// never is, which says nothing to a side that does not know it.
    pub(super) const BEAT: Self = Self::Credit(0, 0);

    /// Writes the frame and pushes it out.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (kind, id, content): (u8, u32, &[u8]) = match self {
            Self::Open(id) => (1, *id, &[]),
            Self::Data(id, bytes) => (2, *id, bytes),
            Self::Credit(id, count) => return Self::put(out, 3, *id, &count.to_be_bytes()),
            Self::End(id) => (4, *id, &[]),
            Self::Gone(id) => (5, *id, &[]),
        };
        Self::put(out, kind, id, content)
    }

    fn put(out: &mut dyn Write, kind: u8, id: u32, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).expect("content has at most 64 KiB");
        let mut bytes = Vec::with_capacity(HEAD + content.len());
        bytes.push(kind);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(content);
        out.write_all(&bytes)?;
        out.flush()
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// What the pipe says; `InvalidData` when what comes is no frame.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        if !read_whole(from, &mut head)? {
            return Ok(None);
        }
        let [kind, a, b, c, d, e, f, g, h] = head;
        let (id, length) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let length = length as usize;
        if length > CONTENT_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content)?;
        Ok(Some(match (kind, &content[..]) {
            (1, []) => Self::Open(id),
            (2, _) => Self::Data(id, content),
            (3, &[a, b, c, d]) => Self::Credit(id, u32::from_be_bytes([a, b, c, d])),
            (4, []) => Self::End(id),
            (5, []) => Self::Gone(id),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }))
    }
}

/// Fills the buffer; `false` when there is nothing at all any more.
fn read_whole(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame::Open(1),
            Frame::Data(1, b"hello".to_vec()),
            Frame::Data(u32::MAX, vec![7; CONTENT_BYTES_MAX]),
            Frame::Credit(1, 5),
            Frame::End(1),
            Frame::Gone(2),
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes).expect("memory"));
        let mut from = bytes.as_slice();
        let mut read = Vec::new();
        while let Some(frame) = Frame::read(&mut from).expect("frames") {
            read.push(frame);
        }
        assert_eq!(read, frames);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&[9, 0, 0, 0, 1, 0, 0, 0, 0][..], &[2, 0, 0, 0, 1, 255, 0, 0, 0], &[1, 0, 0]]
        {
            assert!(Frame::read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }
}
