//! The labels that name a series.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// Label that holds the upper bound of a histogram's bucket.
pub const BUCKET: &str = "le";

/// Names and values, sorted by name. An empty value is no label.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Arc<str>, Arc<str>)>);

impl Labels {
    /// Value of the label, or an empty text.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.position(name).map_or("", |at| &self.0[at].1)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Sets one; an empty value removes it.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        match self.position(&name) {
            Ok(at) if value.is_empty() => drop(self.0.remove(at)),
            Ok(at) => self.0[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Those with one of these names.
    #[must_use]
    pub fn keep(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(name, _)| is_among(names, name)).cloned().collect())
    }

    /// All but the metric's name and those with one of these names.
    #[must_use]
    pub fn without(&self, names: &[String]) -> Self {
        let stays = |name: &str| name != METRIC_NAME && !is_among(names, name);
        Self(self.0.iter().filter(|(name, _)| stays(name)).cloned().collect())
    }

    /// All but the metric's name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.without(&[])
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

fn is_among(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    /// Of several with one name the last one counts.
    fn from_iter<T: IntoIterator<Item = (N, V)>>(labels: T) -> Self {
        let mut all = Self::default();
        for (name, value) in labels {
            all.set(name, value);
        }
        all
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels = self.iter().filter(|(name, _)| *name != METRIC_NAME);
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{}{{{}}}", self.get(METRIC_NAME), labels.join(", "))
    }
}
