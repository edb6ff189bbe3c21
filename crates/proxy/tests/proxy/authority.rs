//! A certificate authority of the tests, and clients that believe it.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use onward_proxy::{Certificate, Certificates, Limits, PrivateKey};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{PATIENCE, Proxy, Wire};

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The name that clients of the tests ask for.
pub const SHOP: &str = "shop.example.com";

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn certificate(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.clone()).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKey::new(key.serialize_pem().into());
        Certificate { names, chain: made.pem(), key }
    }

    pub fn certificates(&self, names: &[&str]) -> Certificates {
        Certificates { all: vec![self.certificate(names)] }
    }

    /// What a client believes and offers.
    pub fn trust(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// A proxy that has a certificate for the shop, and who signed it.
pub fn certified(limits: Limits) -> (Proxy, Authority) {
    let (proxy, authority) = (Proxy::with(limits), Authority::new());
    proxy.client().certify(&authority.certificates(&[SHOP])).unwrap();
    (proxy, authority)
}

/// A client's connection with TLS, once the handshake is over.
pub fn connect(config: &Arc<ClientConfig>, to: SocketAddr, name: &str) -> io::Result<Wire<Secure>> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(Wire { stream: BufReader::new(StreamOwned::new(session, socket)) })
}
