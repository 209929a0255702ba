//! `auth` and `tls`: who may connect, and the certificate of the ports.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use tollgate_adapters::guard::{CertificateConfig, GuardConfig, Secret, TlsConfig, TokenConfig};
use tollgate_config::Problem;

/// Who is let in. With neither tokens nor `tls.client_ca`, whoever connects is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Auth {
    pub(crate) tokens: Vec<Token>,
    pub(crate) certificates: Vec<Certificate>,
}

/// A name and its secret, of which exactly one form is given. It is the password of PostgreSQL's clients, too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) name: String,
    #[serde(default, serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// SHA-256 of the token in hexadecimal digits.
    #[serde(default, serialize_with = "hidden", skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// A file that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Teams that policies on data know them by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) teams: Vec<String>,
    /// Names to report under beside the own one; a `*` at the end stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reports_as: Vec<String>,
}

/// Whom a client certificate stands for, where that is not the name in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// URI, DNS name or common name in the certificate.
    pub(crate) subject: String,
    pub(crate) name: String,
    /// Teams that policies on data know them by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) teams: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reports_as: Vec<String>,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Authorities whose client certificates are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<PathBuf>,
}

/// Without the secrets.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, token_file, teams, reports_as, .. } = self;
        f.debug_struct("Token")
            .field("name", name)
            .field("token_file", token_file)
            .field("teams", teams)
            .field("reports_as", reports_as)
            .finish_non_exhaustive()
    }
}

/// Secrets are not printed.
fn hidden<S: Serializer>(_secret: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(hidden)")
}

/// Shortest token.
const TOKEN_BYTES_MIN: usize = 16;

/// Whether connections are encrypted, and nobody comes in unknown.
pub(super) fn is_guarded(auth: &Auth, tls: Option<&Tls>) -> bool {
    tls.is_some_and(|tls| tls.client_ca.is_some() || !auth.tokens.is_empty())
}

/// Whether somebody can be called so.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "anonymous" && !name.contains(':') && !name.chars().any(char::is_control)
}

impl Auth {
    pub(super) fn problems(&self, tls: Option<&Tls>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |message: String| problems.push(Problem::new(message));
        for (index, certificate) in self.certificates.iter().enumerate() {
            let Certificate { subject, name, .. } = certificate;
            if self.certificates[..index].iter().any(|earlier| earlier.subject == *subject) {
                problem(format!("`auth.certificates`: `{subject}` is there twice"));
            }
            if !is_name(name) {
                problem(format!("`auth.certificates`: `{name}` is no name: it may not be `anonymous` or have a `:`"));
            }
        }
        for (index, token) in self.tokens.iter().enumerate() {
            let name = &token.name;
            if self.tokens[..index].iter().any(|earlier| earlier.name == *name) {
                problem(format!("`auth.tokens`: the name `{name}` is there twice"));
            }
            if !is_name(name) {
                problem(format!("`auth.tokens`: `{name}` is no name: it may not be `anonymous` or have a `:`"));
            }
            let forms = [token.token.is_some(), token.sha256.is_some(), token.token_file.is_some()];
            if forms.iter().filter(|is_given| **is_given).count() != 1 {
                problem(format!("`auth.tokens`: `{name}` needs one of `token`, `sha256` and `token_file`"));
            }
            if token.token.as_ref().is_some_and(|token| token.len() < TOKEN_BYTES_MIN) {
                problem(format!(
                    "`auth.tokens`: the token of `{name}` is shorter than {TOKEN_BYTES_MIN} characters: make one with `openssl rand -hex 16`"
                ));
            }
            if token.sha256.as_ref().is_some_and(|digits| digest(digits).is_none()) {
                problem(format!(
                    "`auth.tokens`: `sha256` of `{name}` is not 64 hexadecimal digits: make it with `printf %s TOKEN | sha256sum`"
                ));
            }
        }
        if !self.certificates.is_empty() && tls.is_none_or(|tls| tls.client_ca.is_none()) {
            problem("`auth.certificates` needs `tls.client_ca`, which says whose certificates are taken".to_owned());
        }
        problems
    }

    pub(super) fn to_config(&self, tls: Option<&Tls>) -> GuardConfig {
        GuardConfig {
            tokens: self.tokens.iter().filter_map(Token::to_config).collect(),
            certificates: self.certificates.iter().map(Certificate::to_config).collect(),
            tls: tls.map(|tls| TlsConfig {
                cert: tls.cert.clone(),
                key: tls.key.clone(),
                client_ca: tls.client_ca.clone(),
            }),
        }
    }
}

impl Token {
    /// `None` where it was not valid, which is refused before.
    fn to_config(&self) -> Option<TokenConfig> {
        let secret = match (&self.token, &self.sha256, &self.token_file) {
            (Some(token), _, _) => Secret::Token(token.clone()),
            (_, Some(digits), _) => Secret::Sha256(digest(digits)?),
            (_, _, Some(file)) => Secret::File(file.clone()),
            (None, None, None) => return None,
        };
        Some(TokenConfig {
            name: self.name.clone(),
            secret,
            teams: self.teams.clone(),
            reports_as: self.reports_as.clone(),
        })
    }
}

impl Certificate {
    fn to_config(&self) -> CertificateConfig {
        CertificateConfig {
            subject: self.subject.clone(),
            name: self.name.clone(),
            teams: self.teams.clone(),
            reports_as: self.reports_as.clone(),
        }
    }
}

/// The bytes of 64 hexadecimal digits.
fn digest(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Auth {
        tollgate_config::from_str(std::path::Path::new("tollgate.yaml"), text).unwrap()
    }

    #[test]
    fn secrets_are_never_printed() {
        let digits = "0123456789abcdef".repeat(4);
        let auth = parse(&format!(
            "tokens: [{{ name: a, token: 0123456789abcdef }}, {{ name: b, sha256: {digits} }}, {{ name: c, token_file: c.token }}]"
        ));
        assert!(auth.problems(None).is_empty());
        let printed = serde_saphyr::to_string(&auth).unwrap();
        assert!(!printed.contains("0123456789abcdef"), "{printed}");
        assert!(printed.contains("c.token"), "{printed}");
        assert!(!format!("{auth:?}").contains("0123456789abcdef"), "{auth:?}");
    }

    #[test]
    fn every_problem_is_named() {
        let auth = parse(
            "tokens:\n  - { name: a, token: short }\n  - { name: a, token: 0123456789abcdef }\n  - { name: b }\n  \
             - { name: c, sha256: abc }\n  - { name: anonymous, token: 0123456789abcdef }\n\
             certificates: [{ subject: x, name: y }]\n",
        );
        let problems: Vec<_> = auth.problems(None).into_iter().map(|problem| problem.message).collect();
        for (expected, problem) in [
            "the token of `a` is shorter",
            "the name `a` is there twice",
            "`b` needs one of",
            "`sha256` of `c`",
            "`anonymous` is no name",
            "needs `tls.client_ca`",
        ]
        .iter()
        .zip(&problems)
        {
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
        assert_eq!(problems.len(), 6, "{problems:?}");
    }

    #[test]
    fn guarded_is_tls_with_tokens_or_client_certificates() {
        let tls = |client_ca: Option<&str>| Tls {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
            client_ca: client_ca.map(Into::into),
        };
        let tokens = parse("tokens: [{ name: a, token: 0123456789abcdef }]");
        assert!(!is_guarded(&tokens, None));
        assert!(!is_guarded(&Auth::default(), Some(&tls(None))));
        assert!(is_guarded(&tokens, Some(&tls(None))));
        assert!(is_guarded(&Auth::default(), Some(&tls(Some("ca.pem")))));
    }
}
