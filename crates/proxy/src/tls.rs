//! TLS at the door: one configuration for all workers, certificates that are exchanged under it.
//!
//! A handshake takes the keyring in force at its beginning; a connection keeps its keys, so that an
//! exchange of certificates closes nothing. Tickets are made and read by all workers with one key,
//! so a client resumes its session at whichever it comes to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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

/// The certificates in force.
#[derive(Debug, Default)]
pub(crate) struct Door(Mutex<Arc<Keyring>>);

impl Door {
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn exchange(&self, keyring: Keyring) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    /// What answers handshakes with the certificates of this door.
    pub(crate) fn acceptor(self: &Arc<Self>) -> io::Result<TlsAcceptor> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder =
            builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(io::Error::other)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Door {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.keyring().find(hello.server_name())
    }
}
