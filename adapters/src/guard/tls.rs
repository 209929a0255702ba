//! TLS of the ports: one certificate for all, and client certificates of the authorities that are named.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::TlsConfig;

/// What is spoken on a port, which clients name when they begin TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Grpc,
    Postgres,
}

/// The configuration for each protocol.
pub(crate) struct Tls {
    http1: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn read(files: &TlsConfig) -> io::Result<Self> {
        let chain: Vec<_> = certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| failed(&files.cert, &error))?;
        let builder = match &files.client_ca {
            Some(file) => builder.with_client_cert_verifier(verifier(file, provider)?),
            None => builder.with_no_client_auth(),
        };
        let base = builder.with_single_cert(chain, key).map_err(|error| failed(&files.key, &error))?;
        let speaking = |protocol: &[u8]| {
            let mut config = base.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self { http1: speaking(b"http/1.1"), grpc: speaking(b"h2"), postgres: speaking(b"postgresql") })
    }

    pub(crate) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        Arc::clone(match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Grpc => &self.grpc,
            Protocol::Postgres => &self.postgres,
        })
    }
}

/// Who has no certificate may have a token, so that none is not refused here.
fn verifier(file: &Path, provider: Arc<rustls::crypto::CryptoProvider>) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| failed(file, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
    builder.build().map_err(|error| failed(file, &error))
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| failed(file, &error))?;
    match read.is_empty() {
        true => Err(failed(file, &"it holds no certificate")),
        false => Ok(read),
    }
}

fn failed(file: &Path, error: &dyn Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` cannot be used for TLS: {error}", file.display()))
}
