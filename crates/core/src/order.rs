//! The order: what a server shall be at a generation, whole.
//!
//! An order is a pure function of the document, so two runners at one generation send the same.
//! A release that an order does not name shall be gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::model::{
    AppName, BundleRef, Config, EnvironmentName, Generation, Maintenance, OperationNumber,
    ReleaseNumber, ServerName,
};
use crate::planted::planted;
use crate::secrets::{OrderSecrets, SecretVersion};

/// What one server shall be for one app and environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The server.
    pub server: ServerName,
    /// The generation of the document that it follows from: the fencing token.
    pub generation: Generation,
    /// The operation that it belongs to, 0 at rest.
    pub operation: OperationNumber,
    /// The releases that shall be there, each at its level.
    pub releases: BTreeMap<ReleaseNumber, ReleaseOrder>,
    /// A command to run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandOrder>,
    /// A release to watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchOrder>,
    /// The secrets of the environment, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<OrderSecrets>,
    /// What the proxies of the environment's servers say to each other; none while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_key: Option<String>,
    /// The other servers that this one spreads requests over, besides its own instances; none
    /// when there is no other and the app runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Visitors get a page instead of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// What those who come with TLS are shown; none where no clients come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<OrderHttps>,
}

/// What a server needs to be reached with TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHttps {
    /// The certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<OrderCertificate>,
    /// What is answered to authorities that look whether a name leads here, by token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub challenges: BTreeMap<String, String>,
}

/// One certificate in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCertificate {
    /// The names that it is shown for.
    pub names: Vec<String>,
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// Which of the secrets in the order is its private key.
    pub key: SecretVersion,
}

/// The servers that a balancer spreads requests over, besides the instances on itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The addresses of their proxies, `HOST:PORT`, as the document has them.
    pub peers: BTreeMap<ServerName, String>,
}

impl Order {
    /// The order that nothing shall be there: for a server that the document does not have any more.
    pub fn nothing(document: &Document, server: &ServerName) -> Self {
        Self {
            app: document.app.clone(),
            environment: document.environment.clone(),
            server: server.clone(),
            generation: document.generation,
            operation: document.last_operation,
            releases: BTreeMap::new(),
            command: None,
            watch: None,
            secrets: None,
            fleet_key: None,
            balance: None,
            maintenance: None,
            https: None,
        }
    }

    /// The other servers that requests shall be spread over.
    pub fn peers(&self) -> BTreeMap<ServerName, String> {
        self.balance.as_ref().map(|balance| balance.peers.clone()).unwrap_or_default()
    }

    /// The release that traffic shall go to.
    pub fn routed(&self) -> Option<ReleaseNumber> {
        let mut levels = self.releases.iter();
        levels.find(|(_, release)| release.level == Level::Routed).map(|(number, _)| *number)
    }

    /// The level at which a release shall be.
    pub fn level(&self, release: ReleaseNumber) -> Level {
        self.releases.get(&release).map_or(Level::Gone, |order| order.level)
    }
}

/// How far a release is on a server. Each level includes those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing of it is left.
    #[default]
    Gone,
    /// Its files are there.
    Staged,
    /// Its processes with traffic run and answer their probe.
    Running,
    /// Traffic goes to it.
    Routed,
}

/// What one release shall be on one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseOrder {
    /// Its level.
    pub level: Level,
    /// Whether its processes without traffic run.
    pub background: bool,
    /// For a running release that is only kept for a quick way back: how long, in milliseconds.
    /// The server may let it fall to `Staged` earlier when memory is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_ms: Option<u64>,
    /// The files.
    pub bundle: BundleRef,
    /// How they are run.
    pub config: Arc<Config>,
}

/// A command that shall run on this server, once for its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOrder {
    /// The operation that it belongs to: with `kind` its key, so that it is not run again.
    pub operation: OperationNumber,
    /// Which command.
    pub kind: CommandKind,
    /// The release in whose directory it runs.
    pub release: ReleaseNumber,
}

/// Which command of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// `[release] run`.
    Release,
    /// `[release] check`.
    Check,
}

impl CommandKind {
    /// The words for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Release => "the release command",
            Self::Check => "the check",
        }
    }
}

/// A release that shall be watched after its switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchOrder {
    /// The operation that it belongs to.
    pub operation: OperationNumber,
    /// The release.
    pub release: ReleaseNumber,
    /// The release whose share of errors it is compared with.
    pub previous: Option<ReleaseNumber>,
    /// How long, in milliseconds.
    pub for_ms: u64,
}

/// What an agent does with an order that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Keep it durably, then make it true.
    Accept,
    /// It is the order that is kept already.
    Same,
    /// It is older than the one that is kept: an order that was delayed on its way.
    Stale {
        /// The generation that was accepted.
        accepted: Generation,
    },
    /// It has the generation of the one that is kept and says something else, which no document
    /// can have asked for.
    Contradiction,
}

/// Decides about an incoming order. This is the fence: for one app and environment a server never
/// follows an order below the highest generation that it accepted.
pub fn admit(kept: Option<&Order>, incoming: &Order) -> Admission {
    let Some(kept) = kept else { return Admission::Accept };
    if planted!(NoFence) {
        return Admission::Accept;
    }
    if planted!(FenceByOperation) && incoming.operation >= kept.operation {
        return Admission::Accept;
    }
    match incoming.generation.cmp(&kept.generation) {
        std::cmp::Ordering::Less => Admission::Stale { accepted: kept.generation },
        std::cmp::Ordering::Greater => Admission::Accept,
        std::cmp::Ordering::Equal if incoming == kept => Admission::Same,
        std::cmp::Ordering::Equal => Admission::Contradiction,
    }
}
