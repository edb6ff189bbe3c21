//! What clients with TLS are shown, and authorities are answered: of all apps together.
//!
//! The proxy holds one set of certificates and one list of challenges. They follow the orders that
//! were accepted, apart from the routes: a certificate is shown as soon as it is ordered, whatever a
//! deploy is waiting for.

use std::collections::BTreeSet;
use std::time::Duration;

use onward_core::order::Order;
use onward_core::report::HttpsReport;
use onward_proxy::{Certificates, Challenge, Status, Table};
use tokio::time::Instant;

use super::app::App;
use super::event::Event;
use super::note::note;
use super::roll::Agent;

/// The pause before the proxy is told again what it refused, or did not hear.
const AGAIN: Duration = Duration::from_secs(2);

/// What the proxy is known to show, and what it is being told.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The identity of the certificates in force; none when nothing is known.
    certificates: Option<String>,
    challenges: Vec<Challenge>,
    known: bool,
    telling: bool,
    again_at: Option<Instant>,
    problem: Option<String>,
}

impl Door {
    /// Takes over what the proxy says.
    pub(super) fn learn(&mut self, status: &Status, table: &Table) {
        self.certificates.clone_from(&status.certificates);
        self.challenges.clone_from(&table.challenges);
        self.known = true;
    }

    fn shows(&self, wanted: &Certificates) -> bool {
        match &self.certificates {
            Some(own) => *own == wanted.identity(),
            None => wanted.all.is_empty(),
        }
    }

    /// What there is to report of one order.
    pub(super) fn report(
        &self,
        order: &Order,
        all: &Certificates,
        port: Option<u16>,
    ) -> Option<HttpsReport> {
        let https = order.https.as_ref()?;
        let is_answered = |token: &&String| self.challenges.iter().any(|own| own.token == **token);
        Some(HttpsReport {
            certificates: self.shows(all),
            challenges: https.challenges.keys().filter(is_answered).cloned().collect(),
            port,
        })
    }

    /// Why the proxy does not show what it shall.
    pub(super) fn problem(&self) -> Option<&String> {
        self.problem.as_ref()
    }

    /// When the proxy is told again.
    pub(super) fn next_change(&self) -> Option<Instant> {
        self.again_at.filter(|_| !self.telling)
    }
}

impl Agent {
    /// The certificates of all apps. Of two for one name the first stays.
    pub(super) fn wanted_certificates(&self) -> Certificates {
        let mut taken = BTreeSet::new();
        let of = |app: &App| app.order().map(|order| app.vault.certificates(order));
        let all = self.apps.values().filter_map(of).flatten();
        let is_new = |own: &onward_proxy::Certificate| {
            let is_new = !own.names.iter().any(|name| taken.contains(name));
            taken.extend(own.names.iter().cloned());
            is_new
        };
        Certificates { all: all.filter(is_new).collect() }
    }

    fn wanted_challenges(&self) -> Vec<Challenge> {
        let orders = self.apps.values().filter_map(App::order);
        let all = orders.filter_map(|order| order.https.as_ref()).flat_map(|own| &own.challenges);
        let all =
            all.map(|(token, answer)| Challenge { token: token.clone(), answer: answer.clone() });
        all.collect()
    }

    /// Tells the proxy what it does not show yet.
    pub(super) fn look_at_door(&mut self) {
        let now = Instant::now();
        let waits = self.door.again_at.is_some_and(|at| at > now);
        if !self.door.known || self.door.telling || waits {
            return;
        }
        let (certificates, challenges) = (self.wanted_certificates(), self.wanted_challenges());
        if self.door.shows(&certificates) && self.door.challenges == challenges {
            (self.door.again_at, self.door.problem) = (None, None);
            return;
        }
        self.door.telling = true;
        let (control, events) = (self.context.control(), self.context.events.clone());
        tokio::spawn(async move {
            let result = control.secure(certificates, challenges).await;
            let _ = events.send(Event::Secured(result.map(Box::new))).await;
        });
    }

    /// The proxy answered what it was told about certificates.
    pub(super) fn secured(&mut self, result: Result<Box<super::control::Seen>, String>) {
        self.door.telling = false;
        match result {
            Ok(seen) => {
                (self.door.again_at, self.door.problem) = (None, None);
                self.learn(*seen);
            }
            Err(why) => {
                note(format_args!("certificates and challenges are not in force yet: {why}"));
                (self.door.again_at, self.door.problem) = (Some(Instant::now() + AGAIN), Some(why));
            }
        }
    }
}
