//! A file on its way to a client: from memory, or a piece at a time.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

/// One piece. Read only when the one before was taken, so a slow client costs one of them.
const PIECE: usize = 256 * 1024;

/// The body of an answer made of files.
pub(crate) enum FileBody {
    /// All of it.
    Memory(Option<Bytes>),
    /// What is too large to be kept.
    Stream(Stream),
}

/// A range of a file that is read as the client takes it.
pub(crate) struct Stream {
    file: Arc<File>,
    at: u64,
    left: u64,
    /// A piece that the disk has to bring.
    waiting: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    pub(crate) fn empty() -> Self {
        Self::Memory(None)
    }

    pub(crate) fn memory(bytes: Bytes) -> Self {
        Self::Memory(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(crate) fn stream(file: &Arc<File>, at: u64, length: u64) -> Self {
        Self::Stream(Stream { file: file.clone(), at, left: length, waiting: None })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(Stream { left: 0, .. }) => Poll::Ready(None),
            Self::Stream(stream) => stream.poll_piece(cx).map(|piece| Some(piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Memory(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Memory(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Stream(stream) => stream.left,
        })
    }
}

impl Stream {
    /// The next piece: at once when it is in the page cache, else from a thread that may wait.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let piece = match &mut self.waiting {
            Some(waiting) => ready!(Pin::new(waiting).poll(cx)).map_err(io::Error::other)?,
            None => match self.cached() {
                Some(piece) => piece,
                None => {
                    let (file, at, size) = (self.file.clone(), self.at, self.size());
                    let read = move || {
                        let mut buffer = vec![0; size];
                        let read = file.read_at(&mut buffer, at)?;
                        buffer.truncate(read);
                        Ok(Bytes::from(buffer))
                    };
                    self.waiting = Some(tokio::task::spawn_blocking(read));
                    return self.poll_piece(cx);
                }
            },
        };
        self.waiting = None;
        let piece = piece?;
        if piece.is_empty() {
            // It got shorter after its length was promised.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Ok(piece))
    }

    fn size(&self) -> usize {
        usize::try_from(self.left).unwrap_or(PIECE).min(PIECE)
    }

    /// What the page cache has; `None` when the disk has to be asked, or may have to be.
    fn cached(&self) -> Option<io::Result<Bytes>> {
        let mut buffer = vec![0; self.size()];
        let mut pieces = [IoSliceMut::new(&mut buffer)];
        match preadv2(&self.file, &mut pieces, self.at, ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => None,
            Ok(read) => {
                buffer.truncate(read);
                Some(Ok(Bytes::from(buffer)))
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}
