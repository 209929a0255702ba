//! Templates of paths, so that one route is one word in rows and policies.

use std::sync::Arc;

/// The routes of the fronted service, such as `/items/{id}` and `/files/{*path}`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes(matchit::Router<Arc<str>>);

/// A template that is malformed or contradicts another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}`: {reason}")]
pub(crate) struct BadRoute {
    template: String,
    reason: String,
}

impl Routes {
    /// Routes with these templates, in any order: the more specific one wins.
    ///
    /// # Errors
    /// The first template that is malformed or overlaps with one before it.
    pub(crate) fn new(templates: &[String]) -> Result<Self, BadRoute> {
        let mut router = matchit::Router::new();
        for template in templates {
            let bad = |reason: String| BadRoute { template: template.clone(), reason };
            if !template.starts_with('/') {
                return Err(bad("a route begins with `/`".to_owned()));
            }
            router.insert(template.as_str(), template.as_str().into()).map_err(|error| bad(error.to_string()))?;
        }
        Ok(Self(router))
    }

    /// The template that a path matches.
    #[must_use]
    pub(crate) fn find(&self, path: &str) -> Option<Arc<str>> {
        self.0.at(path).ok().map(|found| Arc::clone(found.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_specific_route_wins() {
        let templates = ["/items/{id}", "/items/new", "/files/{*path}"].map(str::to_owned);
        let routes = Routes::new(&templates).unwrap();
        for (path, expected) in [
            ("/items/1", Some("/items/{id}")),
            ("/items/new", Some("/items/new")),
            ("/files/a/b", Some("/files/{*path}")),
            ("/items", None),
        ] {
            assert_eq!(routes.find(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_contradiction_names_its_template() {
        let error = Routes::new(&["/a/{id}", "/a/{other}"].map(str::to_owned)).unwrap_err();
        assert!(error.to_string().starts_with("`/a/{other}`: "), "{error}");
        assert!(Routes::new(&["a".to_owned()]).is_err());
    }
}
