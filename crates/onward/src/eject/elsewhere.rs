//! What a server of its own needs besides: its place among the others, what visitors with TLS are shown,
//! and how what it has now comes to where it will be.
//!
//! ```text
//! visitors ─► nginx of a balancer ─► its own instances, 127.0.0.1
//!                              └───► nginx of another server, its inner port ─► that one's instances
//! ```

use std::path::PathBuf;

use jiff::Timestamp;
use onward_secret::Secret;

use super::{File, PRIVATE, Serving};

/// A server that is not the machine on which this is written.
#[derive(Debug)]
pub struct Elsewhere {
    /// The directory of the app on that server while onward is there.
    pub tree: PathBuf,
    /// What a person types on it, as root, after everybody has stopped: it takes onward off, and nothing
    /// when one command for all servers does so.
    pub takes_off: Option<String>,
    /// The other servers with instances, each as `HOST:PORT` of its inner port.
    pub peers: Vec<String>,
    /// The port at which the nginx of the balancers reach the instances here; none where no other does.
    pub inner: Option<u16>,
    /// Whether visitors come here.
    pub is_entry: bool,
    /// What those with TLS are shown.
    pub certificates: Vec<Certificate>,
}

/// One certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    /// The name of its files.
    pub name: String,
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// Its private key, PEM.
    pub key: Secret,
    /// The host names that are reached with it.
    pub hosts: Vec<String>,
    /// The names that lead to the canonical one with it.
    pub aliases: Vec<String>,
    /// Until when it is good.
    pub until: Timestamp,
}

impl Certificate {
    /// Where it is and where its key is, in the directory.
    pub(super) fn paths(&self) -> (String, String) {
        (format!("certificates/{}.pem", self.name), format!("certificates/{}.key", self.name))
    }
}

pub(super) fn files(serving: &Serving<'_>) -> Vec<File> {
    let certificates = serving.elsewhere.iter().flat_map(|own| &own.certificates);
    let both = certificates.flat_map(|own| {
        let (chain, key) = own.paths();
        let key = File { path: key, content: own.key.expose().to_vec(), mode: PRIVATE };
        [File::public(chain, own.chain.clone()), key]
    });
    both.collect()
}
