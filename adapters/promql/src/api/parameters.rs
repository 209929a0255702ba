//! Parameters of a request, from the URL or from a form.

use crate::error::Error;

/// Names and values in the order in which they came. A name may be there several times.
///
/// Bound: what is decoded is not larger than the text that it comes from; who serves requests bounds that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes a URL's query or a body of the type `application/x-www-form-urlencoded`, and adds what it holds. Bytes that are no
    /// UTF-8 are replaced.
    pub fn decode(&mut self, encoded: &str) {
        let pairs = encoded.split('&').filter(|pair| !pair.is_empty());
        self.0.extend(pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        }));
    }

    /// First value of this name that is not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let of_name = self.0.iter().filter(|(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str()).find(|value| !value.is_empty())
    }

    /// All values of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All names, as often as they are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value as `read` understands it.
    pub(super) fn read<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let value = self.get(name).map(read).transpose();
        value.map_err(|reason| Error::Parameter { name, reason })
    }

    /// As [`Self::read`], for one that has to be there.
    pub(super) fn require<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        self.read(name, read)?.ok_or_else(|| Error::Parameter { name, reason: "it is missing".to_owned() })
    }
}

fn unescape(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_forms() {
        let mut parameters = Parameters::default();
        parameters.decode(
            "query=sum%28rate(a%5B5m%5D))+%2B+1&match[]=up&match%5B%5D=a%7Bb%3D%22c%22%7D&empty=&flag&odd=%zz%4",
        );
        assert_eq!(parameters.get("query"), Some("sum(rate(a[5m])) + 1"));
        assert_eq!(parameters.all("match[]").collect::<Vec<_>>(), ["up", "a{b=\"c\"}"]);
        assert_eq!(parameters.get("empty"), None);
        assert_eq!(parameters.get("flag"), None);
        assert_eq!(parameters.get("odd"), Some("%zz%4"));
    }
}
