//! Names and their tokens. Of a token only digests are kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tollgate_engine::Identity;

use super::TokenConfig;

/// Shortest token.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token, and largest file with one.
const TOKEN_BYTES_MAX: usize = 4_096;

/// A token, or what it is recognised by.
#[derive(Clone)]
pub enum Secret {
    /// The token itself.
    Token(String),
    /// The SHA-256 digest of the token.
    Sha256([u8; 32]),
    /// A file that holds the token.
    File(PathBuf),
}

impl Secret {
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Token(_) | Self::Sha256(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(hidden)",
            Self::Sha256(_) => "Sha256(hidden)",
            Self::File(_) => "File",
        })
    }
}

/// All tokens.
pub(crate) struct Tokens {
    all: Vec<Token>,
    /// One salt for all, so that an unknown name looks like a known one.
    salt: [u8; 16],
    /// What no token salts to.
    nobody: Vec<u8>,
}

struct Token {
    identity: Identity,
    digest: [u8; 32],
    /// For SCRAM, which needs to know the token itself to make it.
    salted: Option<Vec<u8>>,
}

impl Tokens {
    pub(super) fn read(configs: &[TokenConfig]) -> io::Result<Self> {
        let (salt, nobody) = (random()?, random::<32>()?.to_vec());
        let token = |config: &TokenConfig| {
            let identity = Identity::new(&config.name, &config.teams, &config.reports_as);
            let text = match &config.secret {
                Secret::Sha256(digest) => return Ok(Token { identity, digest: *digest, salted: None }),
                Secret::Token(text) => text.clone(),
                Secret::File(file) => read(file)?,
            };
            if text.len() < TOKEN_BYTES_MIN {
                let message = format!(
                    "the token of `{}` is shorter than {TOKEN_BYTES_MIN} characters: make one with `openssl rand -hex 16`",
                    config.name
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            let salted = Some(gen_salted_password(&text, &salt, SCRAM_ITERATIONS));
            Ok(Token { identity, digest: Sha256::digest(text.as_bytes()).into(), salted })
        };
        let all = configs.iter().map(token).collect::<io::Result<Vec<_>>>()?;
        for (index, token) in all.iter().enumerate() {
            if let Some(same) = all[..index].iter().find(|earlier| earlier.digest == token.digest) {
                let (first, second) = (same.identity.name(), token.identity.name());
                let message =
                    format!("`{first}` and `{second}` have the same token: nobody could tell which of them it is");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        Ok(Self { all, salt, nobody })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whose token this is. All are compared, each in constant time.
    pub(crate) fn by_secret(&self, secret: &[u8]) -> Option<Identity> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for token in &self.all {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(&token.identity);
            }
        }
        found.cloned()
    }

    /// Whose token this is, if it is that name's.
    pub(crate) fn by_name_and_secret(&self, name: &str, secret: &[u8]) -> Option<Identity> {
        self.by_secret(secret).filter(|identity| identity.name() == name)
    }

    /// From the header of that name: `Bearer TOKEN`, or `Basic` with name and token, for clients that know nothing else.
    pub(super) fn by_authorization(&self, header: &[u8]) -> Option<Identity> {
        let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.by_secret(rest.as_bytes());
        }
        let pair = basic(scheme, rest)?;
        let (name, secret) = pair.split_once(':')?;
        self.by_name_and_secret(name, secret.as_bytes())
    }

    /// Whether SCRAM works for all of them. If not, it works for none, so that names cannot be told apart.
    pub(crate) fn are_salted(&self) -> bool {
        self.all.iter().all(|token| token.salted.is_some())
    }

    /// The salt, and what this name's token salts to; for an unknown name, what no token does.
    pub(crate) fn salted(&self, name: Option<&str>) -> (Vec<u8>, Vec<u8>) {
        let token = self.all.iter().find(|token| Some(token.identity.name()) == name);
        let salted = token.and_then(|token| token.salted.as_ref()).unwrap_or(&self.nobody);
        (self.salt.to_vec(), salted.clone())
    }

    /// Who has this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Identity> {
        self.all.iter().map(|token| &token.identity).find(|identity| identity.name() == name).cloned()
    }
}

/// Name and secret of `Basic` authorization.
fn basic(scheme: &str, rest: &str) -> Option<String> {
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok())).flatten()
}

/// The secret in an `authorization` header, whatever its scheme.
pub(crate) fn secret(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Some(rest.to_owned()),
        false => basic(scheme, rest)?.split_once(':').map(|(_, secret)| secret.to_owned()),
    }
}

fn read(file: &Path) -> io::Result<String> {
    let failed = |error: &dyn fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` holds no token: {error}", file.display()))
    };
    if std::fs::metadata(file).map_err(|error| failed(&error))?.len() > TOKEN_BYTES_MAX as u64 {
        return Err(failed(&format!("it is longer than {TOKEN_BYTES_MAX} bytes")));
    }
    Ok(std::fs::read_to_string(file).map_err(|error| failed(&error))?.trim().to_owned())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("there is no source of randomness"))?;
    Ok(bytes)
}
