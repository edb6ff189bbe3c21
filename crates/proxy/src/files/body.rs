//! A file on its way to a client, a piece at a time.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// One piece. Read only when the one before was taken, so a slow client costs one of them.
const PIECE: usize = 64 * 1024;

pub(crate) enum FileBody {
    Text(Option<Bytes>),
    File { file: File, left: u64 },
}

impl FileBody {
    pub(crate) fn text(text: String) -> Self {
        Self::Text(Some(Bytes::from(text)))
    }

    pub(crate) fn file(file: File, size: u64) -> Self {
        Self::File { file, left: size }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::File { left: 0, .. } => Poll::Ready(None),
            Self::File { file, left } => Poll::Ready(Some(piece(file, left).map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::File { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Self::File { left, .. } => *left,
        })
    }
}

/// Reads the next piece. It is nearly always in the page cache; when it isn't, waiting for the disk
/// here costs less than handing every piece to another thread.
fn piece(file: &mut File, left: &mut u64) -> io::Result<Bytes> {
    let size = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
    let mut buffer = vec![0; size];
    let read = file.read(&mut buffer)?;
    if read == 0 {
        // It got shorter after its length was promised.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    buffer.truncate(read);
    *left -= read as u64;
    Ok(Bytes::from(buffer))
}
