//! Reading from a socket through one buffer per thread.
//!
//! A connection that waits needs no buffer of its own then: 1,000 idle clients cost nothing here.
//! The price is one copy of what was read while it is still in the processor's cache.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Size of the buffer: what a socket usually has ready at most.
const BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Reads up to `most` bytes and hands them to `take`; zero bytes are the end of the stream.
pub(crate) fn poll_read_with<T>(
    stream: &mut TcpStream,
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

/// Reads straight into hyper's buffer.
pub(crate) fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    mut cursor: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    let most = cursor.remaining();
    poll_read_with(stream, cx, most, |bytes| cursor.put_slice(bytes))
}
