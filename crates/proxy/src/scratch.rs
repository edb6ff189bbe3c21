//! Reading from a socket through one buffer per thread.
//!
//! A connection that waits needs no buffer of its own then: 1,000 idle clients cost nothing here.
//! The price is one copy of what was read while it is still in the processor's cache.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Size of the buffer: what a socket usually has ready at most.
const BYTES: usize = 64 * 1024;

/// Up to this many bytes copying is cheaper than a list of pieces: a head and a small body.
const TOGETHER: usize = 2 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Reads up to `most` bytes and hands them to `take`; zero bytes are the end of the stream.
pub(crate) fn poll_read_with<T>(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(&mut scratch[..most.min(BYTES)]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

/// Writes pieces; small ones together as one, which the kernel takes faster than a list.
pub(crate) fn poll_write_pieces(
    stream: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = pieces {
        return Pin::new(stream).poll_write(cx, only);
    }
    let sum = pieces.iter().map(|piece| piece.len()).sum::<usize>();
    if sum > TOGETHER {
        return Pin::new(stream).poll_write_vectored(cx, pieces);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let mut end = 0;
        for piece in pieces {
            scratch[end..end + piece.len()].copy_from_slice(piece);
            end += piece.len();
        }
        Pin::new(stream).poll_write(cx, &scratch[..end])
    })
}

/// Writes as much as the socket takes now.
pub(crate) fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_write(cx, bytes)
}

/// Reads straight into hyper's buffer.
fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    mut cursor: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    let most = cursor.remaining();
    poll_read_with(stream, cx, most, |bytes| cursor.put_slice(bytes))
}

/// A socket as hyper wants it, without a buffer of its own.
pub(crate) struct Socket(pub(crate) TcpStream);

impl hyper::rt::Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(&mut self.get_mut().0, cx, cursor)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_pieces(&mut self.get_mut().0, cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
