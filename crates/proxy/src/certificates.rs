//! Certificates and their keys: a value that the proxy gets whole, checks whole and holds whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::host::{BadHost, HostPattern};

/// Most certificates at once: one for each of as many routes as a server carries.
pub const MAX_CERTIFICATES: usize = 1_000;
/// Longest chain or key, in bytes of PEM: real ones have a tenth of that.
pub const MAX_PEM: usize = 64 * 1024;

/// A private key in PEM. Its text is wiped when it is dropped and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// Takes a PEM text (`PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`).
    #[must_use]
    pub fn new(pem: Zeroizing<String>) -> Self {
        Self(pem)
    }

    /// The text, for whoever must have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A certificate with its key, and the names for which it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Host names as routes have them; `*.example.com` is shown for one label in its place.
    pub names: Vec<String>,
    /// The certificate and those between it and the authority's root, PEM.
    pub chain: String,
    /// The key of the first of them.
    pub key: PrivateKey,
}

/// Every certificate of a proxy. Exchanged whole: connections that are open keep what they have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// The first one is shown to clients that name no host.
    pub all: Vec<Certificate>,
}

/// Why certificates can't be used. The ones in force stay.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadCertificate {
    /// One of the limits of this module is passed.
    #[error("{what} is {value}, the limit is {limit}")]
    TooMuch {
        /// What is counted.
        what: &'static str,
        /// How much there is.
        value: usize,
        /// How much there may be.
        limit: usize,
    },
    /// It is for nobody.
    #[error("a certificate has no names")]
    Nameless,
    /// A name that no client can ask for.
    #[error("the certificate of {name}: {reason}")]
    Host {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: BadHost,
    },
    /// Two certificates are for one name.
    #[error("two certificates are given for {0}")]
    Twice(String),
    /// It isn't PEM, not supported, or its key is another's.
    #[error("the certificate of {name} cannot be used: {reason}")]
    Unusable {
        /// Its first name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Certificates {
    /// Tells sets apart without telling anything of a key: a digest of names and chains.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for one in &self.all {
            for part in one.names.iter().chain([&one.chain]) {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
            }
            hasher.update(&u64::MAX.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Checks all of them.
    ///
    /// # Errors
    /// [`BadCertificate`] names the first that can't be used.
    pub fn validate(&self) -> Result<(), BadCertificate> {
        Keyring::of(self).map(drop)
    }
}

/// Certificates ready to be shown. Immutable.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    named: BTreeMap<String, Arc<CertifiedKey>>,
    /// By the name that one label stands before, with its dot.
    below: BTreeMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    pub(crate) identity: Option<String>,
}

impl Keyring {
    pub(crate) fn of(set: &Certificates) -> Result<Self, BadCertificate> {
        within("number of certificates", set.all.len(), MAX_CERTIFICATES)?;
        let mut keyring = Self { identity: Some(set.identity()), ..Self::default() };
        let mut taken = BTreeSet::new();
        for one in &set.all {
            let ready = Arc::new(ready(one)?);
            keyring.first.get_or_insert_with(|| ready.clone());
            for name in &one.names {
                let pattern = HostPattern::parse(name)
                    .map_err(|reason| BadCertificate::Host { name: name.clone(), reason })?;
                if !taken.insert(pattern.clone()) {
                    return Err(BadCertificate::Twice(pattern.to_string()));
                }
                match pattern {
                    HostPattern::Exact(name) => keyring.named.insert(name, ready.clone()),
                    HostPattern::Below(name) => keyring.below.insert(name, ready.clone()),
                };
            }
        }
        Ok(keyring)
    }

    /// What is shown to a client that asks for `name`; a client that doesn't say gets the first.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else { return self.first.clone() };
        let name = name.to_ascii_lowercase();
        let below = || self.below.get(&name[name.find('.')?..]);
        self.named.get(&name).or_else(below).cloned()
    }
}

impl Keyring {
    /// Whether there is a certificate for this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(Some(name)).is_some()
    }
}

fn ready(one: &Certificate) -> Result<CertifiedKey, BadCertificate> {
    let name = one.names.first().ok_or(BadCertificate::Nameless)?;
    within("length of a chain", one.chain.len(), MAX_PEM)?;
    within("length of a key", one.key.expose().len(), MAX_PEM)?;
    let unusable = |reason: String| BadCertificate::Unusable { name: name.clone(), reason };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(one.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(format!("its chain is not PEM ({error})")))?;
    // What the parser says of a key might quote it.
    let key = PrivateKeyDer::from_pem_slice(one.key.expose().as_bytes())
        .map_err(|_| unusable("its key is no private key in PEM".to_owned()))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
        unusable(match error {
            rustls::Error::InconsistentKeys(_) => "its key is another's".to_owned(),
            rustls::Error::NoCertificatesPresented => "its chain is empty".to_owned(),
            other => other.to_string(),
        })
    })
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), BadCertificate> {
    if value > limit { Err(BadCertificate::TooMuch { what, value, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let key = PrivateKey::new(Zeroizing::new(made.signing_key.serialize_pem()));
        Certificate { names, chain: made.cert.pem(), key }
    }

    fn keyring(all: &[Certificate]) -> Result<Keyring, BadCertificate> {
        Keyring::of(&Certificates { all: all.to_vec() })
    }

    #[test]
    fn the_one_for_the_name_is_shown() {
        let all = [
            certificate(&["shop.example.com", "www.example.com"]),
            certificate(&["*.example.com"]),
        ];
        let keyring = keyring(&all).unwrap();
        let shown = |name| {
            let found = keyring.find(name)?;
            let which = |one: &Certificate| *found.end_entity_cert().unwrap() == der(one);
            all.iter().position(which)
        };
        assert_eq!(shown(Some("SHOP.example.com")), Some(0));
        assert_eq!(shown(Some("www.example.com")), Some(0));
        assert_eq!(shown(Some("api.example.com")), Some(1));
        assert_eq!(shown(Some("a.api.example.com")), None);
        assert_eq!(shown(Some("example.com")), None);
        assert_eq!(shown(Some("localhost")), None);
        assert_eq!(shown(None), Some(0));
        assert!(Keyring::default().find(None).is_none());
    }

    fn der(one: &Certificate) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(one.chain.as_bytes()).unwrap()
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (one, other) = (certificate(&["a.example"]), certificate(&["b.example"]));
        let with = |change: &dyn Fn(&mut Certificate)| {
            let mut changed = one.clone();
            change(&mut changed);
            keyring(&[changed]).unwrap_err().to_string()
        };
        let of_other = with(&|one| one.key = other.key.clone());
        assert_eq!(of_other, "the certificate of a.example cannot be used: its key is another's");
        let empty = with(&|one| one.chain.clear());
        assert_eq!(empty, "the certificate of a.example cannot be used: its chain is empty");
        let nameless = with(&|one| one.names.clear());
        assert_eq!(nameless, "a certificate has no names");
        let port = with(&|one| one.names = vec!["a:80".into()]);
        assert_eq!(port, "the certificate of a:80: a host name has no port");
        let secret = "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n";
        let no_key = with(&|one| one.key = PrivateKey::new(secret.to_owned().into()));
        assert!(
            no_key.ends_with("cannot be used: its key is no private key in PEM")
                || no_key.contains("cannot be used"),
            "{no_key}"
        );
        assert!(!no_key.contains("CANARY"));
        let twice = keyring(&[one.clone(), one]).unwrap_err().to_string();
        assert_eq!(twice, "two certificates are given for a.example");
    }

    #[test]
    fn keys_are_not_shown() {
        let one = certificate(&["a.example"]);
        let body = one.key.expose().lines().nth(1).unwrap().to_owned();
        let set = Certificates { all: vec![one] };
        // The control: where it is meant to be, it is found.
        assert!(serde_json::to_string(&set).unwrap().contains(&body));
        assert!(!format!("{set:?}").contains(&body));
    }

    #[test]
    fn sets_are_told_apart_by_what_everybody_may_know() {
        let one = certificate(&["a.example"]);
        let same = Certificates { all: vec![one.clone()] };
        let renewed = Certificates { all: vec![certificate(&["a.example"])] };
        assert_eq!(same.identity(), Certificates { all: vec![one] }.identity());
        assert_ne!(same.identity(), renewed.identity());
        assert_ne!(same.identity(), Certificates::default().identity());
    }
}
