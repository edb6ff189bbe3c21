//! Speaking to the proxy, beside the event loop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onward_proxy::{Certificates, Challenge, Client, ClientError, Route, Status, Table, Why};
use tokio::time::{sleep, timeout};

use super::note::note;
use super::succession;
use crate::layout::{Tree, next_proxy_socket, proxy_socket};

/// How long the agent waits for one answer of the proxy.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the proxy is asked again when its table changes at this moment.
const LOOKS_MAX: u32 = 10;
/// The pause before it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The way to the proxies of a tree: the one that serves, and those that it replaced.
#[derive(Debug, Clone)]
pub(super) struct Control {
    runtime: PathBuf,
    table_file: PathBuf,
    /// Held while the table or the proxy that follows it is exchanged.
    turn: Arc<Mutex<()>>,
}

/// What the proxy says, and the table that it follows.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) table: Table,
}

impl Control {
    /// The way to the proxies of a tree. There is one for each agent, and copies of it.
    pub(super) fn new(tree: &Tree, runtime: &Path) -> Self {
        let turn = Arc::default();
        Self { runtime: runtime.to_owned(), table_file: tree.proxy_table(), turn }
    }

    /// How the proxy is.
    pub(super) async fn status(&self) -> Result<Status, String> {
        self.blocking(|own| succession::status(&own.runtime)).await
    }

    /// How the proxy is, and the table that it follows. The table is in its file before it is in
    /// force, so the two are told apart by their version.
    pub(super) async fn look(&self) -> Result<Seen, String> {
        for _ in 0..LOOKS_MAX {
            let look = |own: &Self| {
                let status = succession::status(&own.runtime)?;
                Ok((status, onward_proxy::load_table(&own.table_file)))
            };
            let (status, table) = self.blocking(look).await?;
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
    /// The version follows the proxy's own, which is durable, so it never goes down. Proxies that
    /// were replaced follow as well: connections that are still open there bring new requests.
    ///
    /// Routes keep their places in the table, and new ones come last: of those that take any host
    /// the one that came first stays the first.
    pub(super) async fn set(
        &self,
        mut routes: Vec<Route>,
        mut metrics: Vec<SocketAddr>,
    ) -> Result<Seen, String> {
        self.blocking(move |own| {
            let _turn = own.turn();
            let before = onward_proxy::load_table(&own.table_file).ok().flatten();
            let before = before.unwrap_or_default();
            let place = |route: &Route| {
                before.routes.iter().position(|old| old.name == route.name).unwrap_or(usize::MAX)
            };
            routes.sort_by_key(place);
            metrics.sort_unstable();
            metrics.dedup();
            let mut client = Client::connect(&proxy_socket(&own.runtime))?;
            let version = client.status()?.version.unwrap_or(0) + 1;
            let table = Table { version, routes, metrics, challenges: before.challenges };
            client.set(&table)?;
            succession::each(&own.runtime, |old| old.set(&table));
            Ok(Seen { status: succession::status(&own.runtime)?, table })
        })
        .await
    }

    /// Puts certificates and answers to challenges in force. The routes stay as they are.
    pub(super) async fn secure(
        &self,
        certificates: Certificates,
        challenges: Vec<Challenge>,
    ) -> Result<Seen, String> {
        self.blocking(move |own| {
            let _turn = own.turn();
            let mut client = Client::connect(&proxy_socket(&own.runtime))?;
            let status = client.status()?;
            let is_new = status.certificates.as_ref() != Some(&certificates.identity());
            if is_new && (status.certificates.is_some() || !certificates.all.is_empty()) {
                client.certify(&certificates)?;
                // Those that were replaced begin no session any more.
            }
            let mut table = onward_proxy::load_table(&own.table_file).ok().flatten();
            if table.as_ref().map_or(&[][..], |own| &own.challenges) != challenges {
                let before = table.take().unwrap_or_default();
                let version = status.version.unwrap_or(0) + 1;
                let next = Table { version, challenges, ..before };
                client.set(&next)?;
                succession::each(&own.runtime, |old| old.set(&next));
                table = Some(next);
            }
            Ok(Seen { status: succession::status(&own.runtime)?, table: table.unwrap_or_default() })
        })
        .await
    }

    /// Closes the connections that an instance still has.
    pub(super) async fn cut(self, instance: String) {
        let cut = move |own: &Self| {
            let cut = |client: &mut Client| match client.cut(&instance) {
                // It may have connections at another proxy only.
                Err(error) if error.refusal() == Some(Why::Unknown) => Ok(()),
                other => other,
            };
            succession::each(&own.runtime, cut);
            cut(&mut Client::connect(&proxy_socket(&own.runtime))?)
        };
        if let Err(error) = self.blocking(cut).await {
            note(format_args!("connections could not be cut: {error}"));
        }
    }

    /// The process of a proxy that is about to take over, when one answers.
    pub(super) async fn next_answers(&self) -> Option<u32> {
        let ask = |own: &Self| Client::connect(&next_proxy_socket(&own.runtime))?.status();
        self.blocking(ask).await.ok().map(|status| status.pid)
    }

    /// Puts the proxy that is about to take over in the place of the proxy `old`.
    pub(super) async fn promote(&self, old: u32) -> Result<(), String> {
        self.blocking(move |own| {
            let _turn = own.turn();
            Ok(succession::promote(&own.runtime, &own.table_file, old))
        })
        .await?
    }

    /// The process ids of the proxies that were replaced and still run.
    pub(super) async fn leaving(&self) -> Vec<u32> {
        let leaving = |own: &Self| {
            Ok(succession::leaving(&own.runtime).into_iter().map(|(pid, _)| pid).collect())
        };
        self.blocking(leaving).await.unwrap_or_default()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // Nothing is held under it that a panic could leave half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Self) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, String> {
        let own = self.clone();
        let task = tokio::task::spawn_blocking(move || what(&own));
        match timeout(ANSWER_WITHIN, task).await {
            Ok(Ok(result)) => result.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the proxy does not answer".to_owned()),
        }
    }
}
