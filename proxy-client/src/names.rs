//! Names of services.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NAME_BYTES_MAX: usize = 253;

/// A service as `namespace/name`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    text: Arc<str>,
    slash: usize,
}

/// A text that names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no service: write `namespace/name`, with letters, digits, `-`, `_` and `.`")]
pub struct BadServiceName(String);

impl ServiceName {
    /// `namespace/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text.get(..self.slash).unwrap_or_default()
    }

    /// What stands after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(self.slash + 1..).unwrap_or_default()
    }
}

impl FromStr for ServiceName {
    type Err = BadServiceName;

    fn from_str(text: &str) -> Result<Self, BadServiceName> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match text.split_once('/') {
            Some((namespace, name)) if text.len() <= NAME_BYTES_MAX && is_part(namespace) && is_part(name) => {
                Ok(Self { text: text.into(), slash: namespace.len() })
            }
            _ => Err(BadServiceName(text.chars().take(NAME_BYTES_MAX).collect())),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_namespace_and_a_name() {
        let service: ServiceName = "shop/catalog-2".parse().unwrap();
        assert_eq!((service.namespace(), service.name(), service.as_str()), ("shop", "catalog-2", "shop/catalog-2"));
        for bad in ["", "shop", "/a", "a/", "a/b/c", "a b/c", "shop/catalog\n", &format!("a/{}", "b".repeat(252))] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
