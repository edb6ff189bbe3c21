//! HTTPS as the document holds it: certificates, who issues them, and (in `due`) when.
//!
//! Private keys are sealed like secrets, among them ([`Secrets`]): whatever keeps, delivers and masks
//! those does so with these, and no process gets them. Each name has a certificate of its own, so
//! that one whose address is wrong keeps nobody else from theirs.

mod due;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::model::{ReleaseNumber, Routing, ServerName};
use crate::order::{OrderCertificate, OrderHttps};
use crate::secrets::{SecretVersion, Secrets};

pub use due::{Asker, Due, TRIES_PER_HOUR, TRY_WITHIN};

/// The most names that an environment has certificates for.
pub const NAMES_MAX: usize = 256;
/// How long the answer to a challenge is kept at most: whoever asked for it may have died.
pub const CHALLENGE_WITHIN: SignedDuration = SignedDuration::from_mins(30);

/// HTTPS of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Who issues certificates; none: the user brings them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// The account there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The certificates, by their first name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Certificate>,
    /// What the authority asks for at this moment, by token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub challenges: BTreeMap<String, Challenge>,
    /// What was tried in vain, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts: BTreeMap<String, Attempt>,
}

/// Who issues certificates, by ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The address of its directory.
    pub directory: String,
    /// Where it may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The certificate that it is believed by, PEM, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// An account at an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The directory of the authority that knows it.
    pub directory: String,
    /// The version of the secret that holds its credentials.
    pub key: SecretVersion,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The names that it is for, `*.example.com` for one label in its place.
    pub names: Vec<String>,
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// The version of the secret that holds its private key.
    pub key: SecretVersion,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good.
    pub not_after: Timestamp,
    /// Who issued it, as it says itself.
    pub issuer: String,
    /// Who put it here.
    pub by: String,
}

impl Certificate {
    /// Whether it is shown for a name.
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|own| {
            own == name
                || own.strip_prefix("*.").is_some_and(|below| {
                    name.split_once('.').is_some_and(|(_, rest)| rest == below)
                })
        })
    }
}

/// What an authority asks for to see that a name leads here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The name.
    pub name: String,
    /// What is answered.
    pub answer: String,
    /// When it is of no use any more.
    pub until: Timestamp,
}

/// What was tried in vain for a name since it last succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// How often in a row.
    pub failures: u32,
    /// When, in the last hour before the last of them.
    pub tries: Vec<Timestamp>,
    /// When it is worth trying again.
    pub next: Timestamp,
    /// What went wrong last; empty while a try is under way.
    pub problem: String,
    /// The process that made the last try, in its own words, when it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

impl Https {
    /// The certificate that is shown for a name.
    pub fn certificate(&self, name: &str) -> Option<&Certificate> {
        let exact = self.certificates.values().find(|own| own.names.iter().any(|own| own == name));
        exact.or_else(|| self.certificates.values().find(|own| own.covers(name)))
    }

    /// Takes a certificate over. What was for the same names goes.
    pub fn succeeded(&mut self, certificate: Certificate) {
        let names = certificate.names.clone();
        self.certificates.retain(|_, own| !own.names.iter().all(|name| names.contains(name)));
        self.attempts.retain(|name, _| !names.contains(name));
        self.challenges.retain(|_, own| !names.contains(&own.name));
        if let Some(first) = names.first() {
            self.certificates.insert(first.clone(), certificate);
        }
    }

    /// Forgets challenges that nobody waits for, and certificates that ended or that nobody wants.
    pub fn forget(&mut self, wanted: &BTreeSet<String>, now: Timestamp) {
        self.challenges.retain(|_, own| own.until > now);
        let of_authority = self.authority.is_some();
        self.certificates.retain(|_, own| {
            let is_wanted = wanted.iter().any(|name| own.covers(name));
            is_wanted || (!of_authority && own.not_after > now)
        });
        self.attempts.retain(|name, _| wanted.contains(name));
    }

    /// The versions of secrets that it needs.
    pub fn secret_versions(&self) -> BTreeSet<SecretVersion> {
        let account = self.account.iter().map(|own| own.key);
        account.chain(self.certificates.values().map(|own| own.key)).collect()
    }

    fn for_servers(&self) -> OrderHttps {
        let certificate = |own: &Certificate| OrderCertificate {
            names: own.names.clone(),
            chain: own.chain.clone(),
            key: own.key,
        };
        let challenges = self.challenges.iter();
        OrderHttps {
            certificates: self.certificates.values().map(certificate).collect(),
            challenges: challenges
                .map(|(token, own)| (token.clone(), own.answer.clone()))
                .collect(),
        }
    }
}

/// The names of a release that an authority can look for: no patterns, no addresses, nothing that
/// only leads to the machine itself.
pub fn names(routing: &Routing) -> BTreeSet<String> {
    let public = |name: &&String| {
        !name.starts_with(['*', '[']) && name.parse::<std::net::Ipv4Addr>().is_err()
    };
    let all = routing.hosts.iter().chain(&routing.aliases).filter(public);
    if routing.https.is_some() { all.cloned().collect() } else { BTreeSet::new() }
}

impl Document {
    /// The names that shall have certificates: those of the release that serves.
    pub fn https_names(&self) -> BTreeSet<String> {
        let release = self.serving.and_then(|number: ReleaseNumber| self.release(number));
        release.map(|own| names(&own.config.routing)).unwrap_or_default()
    }

    /// Whether clients come to a server: to the balancers, or where there is none to each.
    pub fn faces_clients(&self, server: &ServerName) -> bool {
        let has_balancer = self.servers.values().any(crate::document::Server::is_balancer);
        !has_balancer || self.server(server).is_some_and(crate::document::Server::is_balancer)
    }

    /// What a server is told about HTTPS.
    pub(crate) fn https_of(&self, server: &ServerName) -> Option<OrderHttps> {
        let https = self.https.as_ref().filter(|_| self.faces_clients(server))?;
        let told = https.for_servers();
        (!told.certificates.is_empty() || !told.challenges.is_empty()).then_some(told)
    }

    pub(crate) fn validate_https(&self) -> Result<(), String> {
        let Some(https) = &self.https else { return Ok(()) };
        if https.certificates.len() > NAMES_MAX || https.challenges.len() > NAMES_MAX {
            return Err(format!("https has more than {NAMES_MAX} certificates or challenges"));
        }
        let versions = self.secrets.as_ref().map(|secrets: &Secrets| &secrets.versions);
        let has = |version| versions.is_some_and(|all| all.contains_key(&version));
        match https.secret_versions().into_iter().find(|version| !has(*version)) {
            Some(version) => {
                Err(format!("https needs version {version}, which is not in secrets.versions"))
            }
            None => Ok(()),
        }
    }
}
