//! The proxy on real sockets: apps that are threads, clients that never retry.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod authority;
mod bodies;
mod control;
mod crowd;
mod differential;
mod files;
mod fleet;
mod framing;
mod hold;
mod hostile;
mod http2;
mod load;
mod routing;
mod shutdown;
mod slow;
mod succession;
mod support;
mod switch;
mod tls;
mod upgrade;
