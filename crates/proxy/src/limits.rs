//! Every limit of the proxy, with its name and its reason.
//!
//! A limit is a promise to the other clients: nobody can take so much that the rest go without.

use std::net::IpAddr;
use std::time::Duration;

use crate::crowd;

/// What the proxy allows to clients and instances. [`Limits::default`] is what `onward` runs with;
/// tests shorten the times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections open at once, over all workers. At the limit the proxy stops accepting:
    /// the kernel's backlog holds the rest, nobody is refused. 10,000 idle connections cost about
    /// 200 MB in the worst case, which a small server still has.
    pub connections: usize,
    /// Client connections open at once from one address, or one IPv6 network of 64 bits; what comes
    /// beyond is closed. An office behind one address has about two for each person who has the app
    /// open, so a thousand people; five such addresses still don't take all of `connections`.
    pub connections_per_client: usize,
    /// Whose connections are counted for that. By default, everybody's who comes from the internet:
    /// behind a private address is a balancer or a gateway. A balancer of the same environment is
    /// never counted, wherever it is.
    pub counts: fn(IpAddr) -> bool,
    /// Requests at once on one connection that speaks HTTP/2. As many as nginx takes; browsers need
    /// no more.
    pub streams: u32,
    /// Bytes of answers that wait here for clients with HTTP/2 that read slowly, over all workers,
    /// beyond the little that each connection has. An app need not wait for a phone on a bad line
    /// then; a small server can spare as much.
    pub answers_bytes: usize,
    /// Connections to one instance, idle and busy, over all workers (upgraded ones apart). An
    /// instance that works on 128 requests at once gets slower, not faster, with more.
    pub upstream_connections: usize,
    /// Requests that may wait for a connection to one instance, over all workers. More than eight
    /// times the connections would wait longer than people do.
    pub upstream_queue: usize,
    /// How long one request waits in that queue before it is answered 503.
    pub upstream_queue_within: Duration,
    /// Requests held at once because no instance can be reached, over all workers. Each costs a few
    /// kilobytes; what comes beyond is answered 503 at once.
    pub held: usize,
    /// Bytes of a request head (request line and header). nginx allows 32 KiB in its default.
    pub head_bytes: usize,
    /// Lines of a request header. The parser keeps this many on its stack.
    pub head_lines: usize,
    /// From the first byte of a request head to its last. Stops clients that send a byte a second.
    pub head_within: Duration,
    /// How long a kept-alive connection may be idle between requests. Longer than the 60 s that
    /// load balancers in front keep theirs, so that they and not the proxy end it.
    pub idle_within: Duration,
    /// How long a client may leave its request body unfinished without a byte, or an answer unread.
    pub stall_within: Duration,
    /// From the end of the request to the head of the answer; then 504. nginx's default too.
    pub answer_within: Duration,
    /// One attempt to connect to an instance. They are on this machine or on its network.
    pub connect_within: Duration,
    /// How long an idle connection to an instance is kept. Shorter than the 5 s after which Node.js
    /// and Apache close theirs, so that a request seldom meets a closing one.
    pub upstream_idle_within: Duration,
    /// A request that can't be repeated takes no kept connection that was idle longer than this,
    /// because the instance might be closing it at this moment; a new one costs microseconds.
    pub unrepeatable_idle_within: Duration,
    /// After SIGTERM: how long what is in flight may take to finish.
    pub shutdown_within: Duration,
    /// After SIGTERM: how long an idle client connection stays open for one more request, so that
    /// a request already on its way isn't cut.
    pub shutdown_idle_within: Duration,
    /// After another proxy took over: how long connections may go on that were open by then. Ten
    /// minutes, as WebSockets have when their release is replaced.
    pub leave_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_client: 2_000,
            counts: crowd::is_public,
            streams: 128,
            answers_bytes: 64 * 1024 * 1024,
            upstream_connections: 128,
            upstream_queue: 1_024,
            upstream_queue_within: Duration::from_secs(10),
            held: 1_024,
            head_bytes: 32 * 1024,
            head_lines: 100,
            head_within: Duration::from_secs(15),
            idle_within: Duration::from_secs(75),
            stall_within: Duration::from_secs(60),
            answer_within: Duration::from_secs(60),
            connect_within: Duration::from_secs(2),
            upstream_idle_within: Duration::from_secs(4),
            unrepeatable_idle_within: Duration::from_millis(500),
            shutdown_within: Duration::from_secs(30),
            shutdown_idle_within: Duration::from_secs(3),
            leave_within: Duration::from_secs(600),
        }
    }
}
