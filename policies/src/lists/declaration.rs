//! How a list is declared.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::diagnostics::{Diagnostic, nearest};
use crate::model::is_header_name;
use crate::sources::SourceFile;

const REFRESH_DEFAULT: Duration = Duration::from_secs(300);
const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(24 * 3_600);
const NAME_BYTES_MAX: usize = 64;

/// A list of the policy directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Its name, as policies have it.
    pub name: String,
    /// What its entries are.
    pub kind: Kind,
    /// What of a request is looked up in it.
    pub looked: Looked,
    /// Where its entries come from.
    pub origin: Origin,
    /// How often they are fetched.
    pub refresh: Duration,
}

/// What the entries of a list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Addresses and networks: `10.0.0.0/8`, `2001:db8::1`.
    Cidr,
    /// Texts that are equal.
    Exact,
    /// Texts that a value begins with.
    Prefix,
}

/// What of a request is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// `source_address`: the only one for addresses.
    SourceAddress,
    /// `source`: the calling service.
    Source,
    /// `user`.
    User,
    /// `path`.
    Path,
    /// `host`.
    Host,
    /// `user_agent`.
    UserAgent,
    /// `headers.x-tenant`.
    Header(Arc<str>),
}

/// Where entries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, relative to `lists/`.
    File(String),
    /// An HTTP or HTTPS URL.
    Url(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    kind: Kind,
    of: Option<String>,
    file: Option<String>,
    url: Option<String>,
    refresh: Option<String>,
}

impl Kind {
    /// As declarations have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cidr => "cidr",
            Self::Exact => "exact",
            Self::Prefix => "prefix",
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        [Self::Cidr, Self::Exact, Self::Prefix].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Looked {
    pub(super) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "source_address" => Self::SourceAddress,
            "source" => Self::Source,
            "user" => Self::User,
            "path" => Self::Path,
            "host" => Self::Host,
            "user_agent" => Self::UserAgent,
            other => Self::Header(other.strip_prefix("headers.").filter(|name| is_header_name(name))?.into()),
        })
    }
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceAddress => f.write_str("source_address"),
            Self::Source => f.write_str("source"),
            Self::User => f.write_str("user"),
            Self::Path => f.write_str("path"),
            Self::Host => f.write_str("host"),
            Self::UserAgent => f.write_str("user_agent"),
            Self::Header(name) => write!(f, "headers.{name}"),
        }
    }
}

/// For people: without what a URL may hold of secrets.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::File(file) => return write!(f, "lists/{file}"),
            Self::Url(url) => url.split(['?', '#']).next().unwrap_or_default(),
        };
        match url.split_once("://") {
            Some((scheme, rest)) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                write!(f, "{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
            }
            None => f.write_str(url),
        }
    }
}

impl Declaration {
    /// What makes it another list when it changes: kind, what is looked up, and the whole source. Not for people, as a URL may hold
    /// secrets.
    #[must_use]
    pub fn identity(&self) -> String {
        let (Origin::File(source) | Origin::Url(source)) = &self.origin;
        format!("{} {} {source}", self.kind.as_str(), self.looked)
    }

    /// Whether only the rhythm is another.
    pub(super) fn is_same_list(&self, other: &Self) -> bool {
        (self.kind, &self.looked, &self.origin) == (other.kind, &other.looked, &other.origin)
    }

    /// Reads `lists/NAME.yaml`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(file: &SourceFile) -> Result<Self, Diagnostic> {
        let raw: Raw = serde_saphyr::from_str(&file.text).map_err(|error| {
            let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
            let text = error.without_snippet().to_string();
            let message = text.lines().next().unwrap_or_default().split(" at line ").next().unwrap_or_default();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            Diagnostic::error("TG0801", &file.path, message).at((line.unwrap_or(1), 1))
        })?;
        let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".yaml").to_owned();
        Self::check(raw, stem).map_err(|message| Diagnostic::error("TG0802", &file.path, message).at((1, 1)))
    }

    fn check(raw: Raw, stem: String) -> Result<Self, String> {
        let name = raw.name.unwrap_or(stem);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
            return Err(format!(
                "`{name}` is not the name of a list: use up to {NAME_BYTES_MAX} letters, digits and `._-`"
            ));
        }
        let looked = looked(raw.kind, raw.of.as_deref())?;
        let origin = match (raw.file, raw.url) {
            (Some(file), None) => Origin::File(beside(file)?),
            (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => Origin::Url(url),
            (None, Some(url)) => return Err(format!("`{url}` is no URL: write https://..")),
            _ => return Err("write where the entries come from: either `file` or `url`".to_owned()),
        };
        let refresh = match raw.refresh {
            None => REFRESH_DEFAULT,
            Some(text) => duration(&text)?,
        };
        Ok(Self { name, kind: raw.kind, looked, origin, refresh })
    }
}

/// `30s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').map(|number| (number, 1));
    let minutes = || text.strip_suffix('m').map(|number| (number, 60));
    let hours = || text.strip_suffix('h').map(|number| (number, 3_600));
    let (number, unit) = seconds.or_else(minutes).or_else(hours).unwrap_or((text, 0));
    let seconds = number.parse::<u32>().map_or(0, |number| u64::from(number).saturating_mul(unit));
    let duration = Duration::from_secs(seconds);
    if (REFRESH_MIN..=REFRESH_MAX).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("`refresh: {text}`: write a time from 1s to 24h, such as `30s`, `5m` or `1h`"))
    }
}

fn looked(kind: Kind, of: Option<&str>) -> Result<Looked, String> {
    const KNOWN: &[&str] = &["source_address", "source", "user", "path", "host", "user_agent", "headers."];
    let looked = match (kind, of) {
        (Kind::Cidr, None | Some("source_address")) => return Ok(Looked::SourceAddress),
        (Kind::Cidr, Some(other)) => return Err(format!("`of: {other}`: addresses are looked up by source_address")),
        (_, None) => return Err(format!("write what is looked up, such as `of: user`: one of {}", KNOWN.join(", "))),
        (_, Some("source_address")) => return Err("`of: source_address`: write `kind: cidr` for addresses".to_owned()),
        (_, Some(other)) => Looked::read(other).ok_or_else(|| {
            let meant = nearest(other, KNOWN.iter().copied()).map(|meant| format!("; did you mean `{meant}`?"));
            format!("`of: {other}` cannot be looked up{}", meant.unwrap_or_default())
        })?,
    };
    Ok(looked)
}

/// A file below `lists/`: a declaration names no other file of the machine.
fn beside(file: String) -> Result<String, String> {
    let is_outside = file.starts_with('/') || file.split(['/', '\\']).any(|part| part == ".." || part.is_empty());
    if is_outside { Err(format!("`{file}` is not a file below `lists/`")) } else { Ok(file) }
}
