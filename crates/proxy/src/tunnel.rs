//! Upgraded connections: bytes both ways until either side ends or the instance is cut.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use hyper::body::Bytes;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use crate::client_side::{ClientSide, Phase};
use crate::shared::InstanceState;
use crate::stream::Stream;
use crate::worker::Worker;

/// Buffer of each direction. Messages on a WebSocket are small, and many connections stay open.
const BUFFER: usize = 4 * 1024;

/// The instance's half of an upgraded connection.
pub(crate) struct FarEnd {
    pub(crate) stream: TcpStream,
    /// What the instance sent behind its 101.
    pub(crate) early: Bytes,
    pub(crate) open: OpenTunnel,
}

/// Counts as an open upgraded connection of an instance while it exists.
pub(crate) struct OpenTunnel(Arc<InstanceState>);

impl OpenTunnel {
    pub(crate) fn new(instance: &Arc<InstanceState>) -> Self {
        instance.upgraded.fetch_add(1, SeqCst);
        Self(instance.clone())
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.upgraded.fetch_sub(1, SeqCst);
    }
}

/// Carries bytes until one side is over or the connection is stopped. `ahead` is what the client
/// sent before it saw the 101.
pub(crate) async fn run(
    worker: &Worker,
    client: &Rc<ClientSide>,
    near: Stream,
    ahead: &[&[u8]],
    far: FarEnd,
) {
    client.enter(Phase::Tunnel, worker.now());
    client.given_to(&far.open.0);
    tokio::select! {
        _ = carry(near, ahead, far.stream, &far.early) => {}
        () = client.until_stopped() => {}
    }
}

async fn carry(
    mut near: Stream,
    ahead: &[&[u8]],
    mut far: TcpStream,
    early: &[u8],
) -> io::Result<()> {
    near.write_all(early).await?;
    near.flush().await?;
    for bytes in ahead {
        far.write_all(bytes).await?;
    }
    copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await?;
    Ok(())
}
