//! Who may come in: TLS, tokens and client certificates, the same for every port.
//!
//! - `tls`: the certificate of the ports, and whose client certificates are taken;
//! - `tokens`: names and digests of their secrets; `certificate`: the names in a client's certificate;
//! - `door`: accepts connections, with TLS where it is configured.
//!
//! Files are read again when they change, so that certificates and tokens are renewed without a restart. What cannot be
//! used then is named in the log, and the last good state stays.

mod certificate;
mod door;
mod tls;
mod tokens;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tollgate_engine::Identity;

pub(crate) use self::certificate::CertificateNames;
pub(crate) use self::door::{Door, Peer};
pub(crate) use self::tls::{Protocol, Tls};
pub use self::tokens::Secret;
pub(crate) use self::tokens::{Tokens, secret};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How those who connect are received. The default asks nobody, in the clear.
#[derive(Debug, Clone, Default)]
pub struct GuardConfig {
    /// Names and secrets.
    pub tokens: Vec<TokenConfig>,
    /// What certificates stand for, where that is not the name in them.
    pub certificates: Vec<CertificateConfig>,
    /// Certificate of the ports; without it connections are in the clear.
    pub tls: Option<TlsConfig>,
}

/// One token.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// Who has it.
    pub name: String,
    /// The token, or what it is recognised by.
    pub secret: Secret,
    /// Teams that policies on data know them by.
    pub teams: Vec<String>,
    /// Names to report under beside the own one.
    pub reports_as: Vec<String>,
}

/// Whom a client certificate stands for.
#[derive(Debug, Clone)]
pub struct CertificateConfig {
    /// A name in the certificate: URI, DNS name or common name.
    pub subject: String,
    /// Who that is.
    pub name: String,
    /// Teams that policies on data know them by.
    pub teams: Vec<String>,
    /// Names to report under beside the own one.
    pub reports_as: Vec<String>,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Certificate chain of the ports.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities whose client certificates are taken.
    pub client_ca: Option<PathBuf>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("say who you are: send a token as `authorization: Bearer TOKEN`, or connect with a client certificate")]
    Nobody,
    #[error("the token is not known here")]
    UnknownToken,
}

/// Knows who may come in.
pub struct Guard {
    config: GuardConfig,
    current: RwLock<Arc<Current>>,
    /// Of the files, when they were read.
    stamps: Mutex<Vec<Stamp>>,
}

/// What the files say.
pub(crate) struct Current {
    pub(crate) tls: Option<Tls>,
    pub(crate) tokens: Tokens,
}

type Stamp = Option<(SystemTime, u64)>;

impl Guard {
    /// Asks nobody, in the clear.
    ///
    /// # Errors
    /// When there is no source of randomness.
    pub fn open() -> io::Result<Arc<Self>> {
        Self::new(GuardConfig::default())
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that cannot be used, or the token.
    pub fn new(config: GuardConfig) -> io::Result<Arc<Self>> {
        let stamps = Mutex::new(config.stamps());
        let current = RwLock::new(Arc::new(config.read()?));
        Ok(Arc::new(Self { config, current, stamps }))
    }

    /// Whether nobody is asked who he is.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.config.tokens.is_empty() && !self.takes_certificates()
    }

    /// Reads changed files again, for as long as it is polled.
    pub async fn follow_files(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let guard = Arc::clone(&self);
            // It fails only where the process is ending.
            let _ = tokio::task::spawn_blocking(move || guard.refresh()).await;
        }
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read())
    }

    /// Who it is that connected with this certificate and sends this `authorization`. A token counts before a certificate.
    pub(crate) fn identify(
        &self,
        certificate: Option<&CertificateNames>,
        authorization: Option<&[u8]>,
    ) -> Result<Identity, Refused> {
        if self.is_open() {
            return Ok(Identity::anonymous());
        }
        let current = self.current();
        match authorization {
            Some(authorization) => current.tokens.by_authorization(authorization).ok_or(Refused::UnknownToken),
            None => certificate.and_then(|names| self.by_certificate(names)).ok_or(Refused::Nobody),
        }
    }

    /// Whom a certificate stands for, which an authority of ours has signed.
    pub(crate) fn by_certificate(&self, names: &CertificateNames) -> Option<Identity> {
        let known = self.config.certificates.iter().find(|known| names.all().any(|name| name == known.subject));
        match known {
            Some(known) => Some(Identity::new(&known.name, &known.teams, &known.reports_as)),
            None => names.all().next().map(|name| Identity::new(name, &[], &[])),
        }
    }

    pub(crate) fn takes_certificates(&self) -> bool {
        self.config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    fn refresh(&self) {
        let stamps = self.config.stamps();
        if *self.stamps.lock() == stamps {
            return;
        }
        match self.config.read() {
            Ok(current) => {
                *self.current.write() = Arc::new(current);
                tracing::info!("certificates and tokens read again");
            }
            Err(error) => {
                tracing::error!(%error, "changed certificates or tokens cannot be used: the last good ones stay");
            }
        }
        *self.stamps.lock() = stamps;
    }
}

impl GuardConfig {
    fn read(&self) -> io::Result<Current> {
        let tls = self.tls.as_ref().map(Tls::read).transpose()?;
        Ok(Current { tls, tokens: Tokens::read(&self.tokens)? })
    }

    fn stamps(&self) -> Vec<Stamp> {
        let tls = self.tls.iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
        let tokens = self.tokens.iter().filter_map(|token| token.secret.file());
        tls.map(PathBuf::as_path).chain(tokens).map(stamp).collect()
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests;
