//! Speaking to the proxy, beside the event loop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onward_proxy::{Client, ClientError, Route, Status, Table};
use tokio::time::{sleep, timeout};

use super::note::note;
use crate::layout::{Tree, proxy_socket};

/// How long the agent waits for one answer of the proxy.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the proxy is asked again when its table changes at this moment.
const LOOKS_MAX: u32 = 10;
/// The pause before it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The way to the proxy of a tree.
#[derive(Debug, Clone)]
pub(super) struct Control {
    socket: PathBuf,
    table_file: PathBuf,
}

/// What the proxy says, and the table that it follows.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) table: Table,
}

impl Control {
    /// The way to the proxy of a tree.
    pub(super) fn new(tree: &Tree, runtime: &Path) -> Self {
        Self { socket: proxy_socket(runtime), table_file: tree.proxy_table() }
    }

    /// How the proxy is.
    pub(super) async fn status(&self) -> Result<Status, String> {
        self.with_client(Client::status).await
    }

    /// How the proxy is, and the table that it follows. The table is in its file before it is in
    /// force, so the two are told apart by their version.
    pub(super) async fn look(&self) -> Result<Seen, String> {
        for _ in 0..LOOKS_MAX {
            let file = self.table_file.clone();
            let look = move |client: &mut Client| {
                let status = client.status()?;
                Ok((status, onward_proxy::load_table(&file)))
            };
            let (status, table) = self.with_client(look).await?;
            let table = match (status.version, table) {
                (None, _) => Table::default(),
                (Some(_), Err(error)) => return Err(error.to_string()),
                (Some(_), Ok(table)) => table.unwrap_or_default(),
            };
            if status.version.is_none_or(|version| version == table.version) {
                return Ok(Seen { status, table });
            }
            sleep(LOOK_AGAIN).await;
        }
        Err("the proxy does not follow the table in its file".to_owned())
    }

    /// Puts routes in force. The answer tells what is true afterwards, also what was in flight when
    /// the routes changed.
    ///
    /// The version follows the proxy's own, which is durable, so it never goes down.
    ///
    /// Routes keep their places in the table, and new ones come last: of those that take any host
    /// the one that came first stays the first.
    pub(super) async fn set(
        &self,
        mut routes: Vec<Route>,
        mut metrics: Vec<SocketAddr>,
    ) -> Result<Seen, String> {
        let file = self.table_file.clone();
        self.with_client(move |client| {
            let before = onward_proxy::load_table(&file).ok().flatten().unwrap_or_default();
            let place = |route: &Route| {
                before.routes.iter().position(|old| old.name == route.name).unwrap_or(usize::MAX)
            };
            routes.sort_by_key(place);
            metrics.sort_unstable();
            metrics.dedup();
            let version = client.status()?.version.unwrap_or(0) + 1;
            let table = Table { version, routes, metrics };
            client.set(&table)?;
            Ok(Seen { status: client.status()?, table })
        })
        .await
    }

    /// Closes the connections that an instance still has.
    pub(super) async fn cut(self, instance: String) {
        if let Err(error) = self.with_client(move |client| client.cut(&instance)).await {
            note(format_args!("connections could not be cut: {error}"));
        }
    }

    async fn with_client<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, String> {
        let socket = self.socket.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut client = Client::connect(&socket)?;
            what(&mut client)
        });
        match timeout(ANSWER_WITHIN, task).await {
            Ok(Ok(result)) => result.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the proxy does not answer".to_owned()),
        }
    }
}
