//! How this process introduces itself to an engine, and what it knows the engine by. Set once, from the command line.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use clap::Args;
use hyper::header::HeaderValue;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Options of every command that asks an engine.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Reaching a guarded engine")]
pub(crate) struct CredentialArgs {
    /// File with the token that the engine knows this user by
    #[arg(long, value_name = "FILE", env = "TOLLGATE_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate of the authority that signed the engine's, in PEM; otherwise those that this machine trusts
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CA", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate in PEM, with --key
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CERT", global = true, requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate in PEM
    #[arg(long, value_name = "FILE", env = "TOLLGATE_KEY", global = true, requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

static GIVEN: OnceLock<CredentialArgs> = OnceLock::new();

impl CredentialArgs {
    /// Makes them what every later request to an engine is made with.
    pub(crate) fn install(self) {
        // Nobody installs any before.
        let _ = GIVEN.set(self);
    }
}

fn given() -> CredentialArgs {
    GIVEN.get().cloned().unwrap_or_default()
}

/// The header that says who asks, where there is a token.
pub(crate) fn authorization() -> anyhow::Result<Option<HeaderValue>> {
    let Some(file) = given().token_file else { return Ok(None) };
    let token =
        std::fs::read_to_string(&file).with_context(|| format!("`{}` cannot be read as a token", file.display()))?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .with_context(|| format!("`{}` holds no token", file.display()))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// What TLS is begun with.
pub(crate) fn tls() -> anyhow::Result<Arc<ClientConfig>> {
    let CredentialArgs { ca, cert, key, .. } = given();
    let mut roots = RootCertStore::empty();
    match &ca {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| format!("`{}` is no authority", file.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = match (cert, key) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(&key)
                .with_context(|| format!("`{}` cannot be read as a key", key.display()))?;
            builder.with_client_auth_cert(certificates(&cert)?, private)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.with_context(|| format!("`{}` cannot be read as certificates", file.display()))
}
