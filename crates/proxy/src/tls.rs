//! TLS at the door: one configuration for all workers, certificates that are exchanged under it.
//!
//! A handshake takes the keyring in force at its beginning; a connection keeps its keys, so that an
//! exchange of certificates closes nothing. Tickets are made and read by all workers with one key,
//! so a client resumes its session at whichever it comes to.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Keyring;

/// What clients are offered, the best first.
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];
/// HTTP/2 as it is called in a handshake.
pub(crate) const H2: &[u8] = b"h2";

/// The certificates in force, and what shows them.
#[derive(Default)]
pub(crate) struct Door {
    keyring: Mutex<Arc<Keyring>>,
    acceptor: OnceLock<TlsAcceptor>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn exchange(&self, keyring: Keyring) {
        *self.keyring.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    /// What answers handshakes with the certificates of this door. The first use of randomness in a
    /// process takes tens of milliseconds, so it is made when it is needed, or beside the start.
    pub(crate) fn acceptor(self: &Arc<Self>) -> &TlsAcceptor {
        self.acceptor.get_or_init(|| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13, &TLS12])
                .expect("the provider has cipher suites of both versions");
            let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
            config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
            // Without tickets each session begins anew.
            if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
                config.ticketer = ticketer;
            }
            TlsAcceptor::from(Arc::new(config))
        })
    }
}

impl ResolvesServerCert for Door {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.keyring().find(hello.server_name())
    }
}
