//! The way for orders to one agent.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use onward_core::document::Document;
use onward_core::order::Order;
use onward_core::outcome::Outcome;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::Report;
use onward_core::secrets::PublicKey;
use onward_secret::Identity;

use super::error::is_silence;
use super::{Client, ClientError, Dial, Seen};

/// How long [`AgentLink::deliver`] waits for news unless told otherwise, in milliseconds.
const NEWS_WITHIN_MS: u64 = 1_000;

/// Opens the private half of a key, when that can be done here.
pub type OpenKey = Arc<dyn Fn(&PublicKey) -> Option<Identity> + Send + Sync>;

/// The way for orders to one agent. It keeps a connection between deliveries, and brings the key of
/// the environment before the first order that needs it.
pub struct AgentLink {
    way: Arc<dyn Dial>,
    open_key: Option<OpenKey>,
    news_within_ms: u64,
    state: Mutex<LinkState>,
}

impl fmt::Debug for AgentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentLink").field("way", &self.way).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct LinkState {
    client: Option<Client>,
    seen: Option<Seen>,
    /// The key that the agent is known to have.
    key: Option<PublicKey>,
}

impl AgentLink {
    /// The way to the agent that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self::over(super::socket(socket))
    }

    /// The way to an agent wherever it is.
    pub fn over(way: Arc<dyn Dial>) -> Self {
        Self { way, open_key: None, news_within_ms: NEWS_WITHIN_MS, state: Mutex::default() }
    }

    /// The same, with another time that the agent waits for news, in milliseconds.
    #[must_use]
    pub fn with_news_within(self, news_within_ms: u64) -> Self {
        Self { news_within_ms, ..self }
    }

    /// The same, with a way to open the key of the environment for a server that lacks it.
    #[must_use]
    pub fn with_keys(mut self, open_key: OpenKey) -> Self {
        self.open_key = Some(open_key);
        self
    }

    /// Sees to it that the agent has the key that an order needs.
    fn bring_key(
        &self,
        client: &mut Client,
        state: &mut LinkState,
        order: &Order,
    ) -> Result<(), ClientError> {
        let of_app = order.releases.values().any(|release| !release.config.secrets.is_empty());
        let needs = of_app || order.https.as_ref().is_some_and(|own| !own.certificates.is_empty());
        let Some(secrets) = order.secrets.as_ref().filter(|_| needs) else { return Ok(()) };
        let key = &secrets.key;
        if state.key.as_ref() == Some(key) {
            return Ok(());
        }
        if !client.holds_key(&order.app, &order.environment, key)? {
            let opened = self.open_key.as_ref().and_then(|open| open(key));
            let identity = opened.ok_or(ClientError::NoKey)?;
            client.take_key(&order.app, &order.environment, identity)?;
        }
        state.key = Some(key.clone());
        Ok(())
    }

    fn exchange(
        &self,
        state: &mut LinkState,
        order: &Order,
        known: Option<u64>,
    ) -> Result<Seen, ClientError> {
        // A connection that was kept may have ended with its agent, which has another by now. An
        // order may be brought twice.
        if let Some(mut client) = state.client.take()
            && self.bring_key(&mut client, state, order).is_ok()
        {
            match client.deliver(order, known, self.news_within_ms) {
                Ok(seen) => {
                    state.client = Some(client);
                    return Ok(seen);
                }
                // Another connection would be as silent.
                Err(ClientError::Lost(error)) if is_silence(&error) => return Err(error.into()),
                Err(_) => {}
            }
        }
        // Another agent may have come with another tree.
        state.key = None;
        let mut client = Client::over(&self.way)?;
        self.bring_key(&mut client, state, order)?;
        let seen = client.deliver(order, known, self.news_within_ms)?;
        state.client = Some(client);
        Ok(seen)
    }
}

impl Link for AgentLink {
    fn deliver(&self, order: &Order, seen: Option<&Report>) -> Outcome<Report, DeliveryRefused> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = state.seen.as_ref().filter(|own| Some(&own.report) == seen);
        let known = known.map(|own| own.revision);
        match self.exchange(&mut state, order, known) {
            Ok(answer) => {
                state.seen = Some(answer.clone());
                Outcome::Done(answer.report)
            }
            Err(
                error
                @ (ClientError::NoAgent { .. } | ClientError::Refused(_) | ClientError::NoKey),
            ) => Outcome::Refused(DeliveryRefused(error.to_string())),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    fn keep_copy(&self, document: &Document) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let client = state.client.take().map_or_else(|| Client::over(&self.way), Ok);
        // A connection on which it failed is not used again.
        state.client =
            client.ok().and_then(|mut own| own.keep_copy(document).is_ok().then_some(own));
    }
}
