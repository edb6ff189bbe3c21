//! The way for orders to a server behind SSH.

use std::fmt;

use onward_core::document::Document;
use onward_core::model::Digest;
use onward_core::order::{Level, Order};
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::Report;
use onward_server::bringing;
use onward_server::client::{AgentLink, Client, OpenKey};
use onward_store::bundle::Store;

use super::server::SshServer;

/// How long one of several servers waits for news, in milliseconds.
const NEWS_OF_SEVERAL_MS: u64 = 50;

/// Brings orders, and the files that the server turns out to lack: it may have been away when the
/// release was made, or its disk may be a new one.
pub struct SshLink {
    server: SshServer,
    link: AgentLink,
    bundles: Option<Store>,
}

impl fmt::Debug for SshLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshLink").field("server", self.server.name()).finish_non_exhaustive()
    }
}

impl SshLink {
    /// The same for one of several servers: whoever waits for its news does not wait for long, for
    /// the next order waits as well.
    #[must_use]
    pub fn of_several(self) -> Self {
        Self { link: self.link.with_news_within(NEWS_OF_SEVERAL_MS), ..self }
    }

    /// The way to a server; files come from `bundles`.
    pub fn new(server: SshServer, open_key: OpenKey, bundles: Option<Store>) -> Self {
        let link = AgentLink::over(server.dial()).with_keys(open_key);
        Self { server, link, bundles }
    }

    /// The bundles that the order wants staged and the report does not have.
    fn unstaged(order: &Order, report: &Report) -> Vec<Digest> {
        let wanted = order.releases.iter().filter(|(_, own)| own.level >= Level::Staged);
        let missing = wanted.filter(|(number, _)| report.level(**number) < Level::Staged);
        missing.map(|(_, own)| own.bundle.digest).collect()
    }

    /// Brings what is missing. What cannot be brought is in the server's report as its failure.
    fn bring(&self, bundle: Digest) {
        let Some(bundles) = &self.bundles else { return };
        if self.server.is_known_to_hold(bundle) || !bundles.has(bundle).unwrap_or(false) {
            return;
        }
        let brought = Client::over(&self.server.dial())
            .map_err(bringing::NotBrought::from)
            .and_then(|mut agent| bringing::bring(&mut agent, bundles, bundle, None, None));
        if brought.is_ok() {
            self.server.holds(bundle);
        }
    }
}

impl Link for SshLink {
    fn deliver(&self, order: &Order, seen: Option<&Report>) -> Outcome<Report, DeliveryRefused> {
        let outcome = self.link.deliver(order, seen);
        if let Outcome::Done(report) = &outcome {
            Self::unstaged(order, report).into_iter().for_each(|bundle| self.bring(bundle));
        }
        outcome
    }

    fn keep_copy(&self, document: &Document) {
        self.link.keep_copy(document);
    }
}
