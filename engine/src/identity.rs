//! Who asks or reports, once a port has found out.

use std::sync::Arc;

/// The name of whoever is believed without being asked, where neither tokens nor client certificates are configured.
const ANONYMOUS: &str = "anonymous";

/// Who is at the other end of a connection: by a token, by a certificate, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: Arc<str>,
    teams: Arc<[Arc<str>]>,
    /// Names to report under beside the own one; a `*` at the end stands for anything. `None` is any name.
    reports_as: Option<Arc<[String]>>,
}

impl Identity {
    /// Whoever reaches a port that asks nobody.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), teams: Arc::default(), reports_as: None }
    }

    /// Someone who proved his name.
    #[must_use]
    pub fn new(name: &str, teams: &[String], reports_as: &[String]) -> Self {
        let teams = teams.iter().map(|team| Arc::from(team.as_str())).collect();
        Self { name: name.into(), teams, reports_as: Some(reports_as.into()) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The teams that policies on data know this identity by.
    #[must_use]
    pub fn teams(&self) -> &[Arc<str>] {
        &self.teams
    }

    /// Whether nobody was asked.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.reports_as.is_none()
    }

    /// Whether rows and acknowledgements may come under this reporter's name.
    ///
    /// # Errors
    /// Says who may not report as whom, and what to do.
    pub fn may_report_as(&self, reporter: &str) -> Result<(), NotThisReporter> {
        let Some(names) = &self.reports_as else { return Ok(()) };
        let is_match = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => reporter.starts_with(start),
            None => pattern == reporter,
        };
        match *reporter == *self.name || names.iter().any(is_match) {
            true => Ok(()),
            false => Err(NotThisReporter { name: Arc::clone(&self.name), reporter: reporter.to_owned() }),
        }
    }
}

/// A name that somebody else reports under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` may not report as `{reporter}`: report under the own name, or list it in `reports_as` of `{name}`")]
pub struct NotThisReporter {
    name: Arc<str>,
    reporter: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_under_the_own_name_and_those_that_are_listed() {
        let check = |reports_as: &[&str], reporter: &str, expected: bool| {
            let reports_as: Vec<_> = reports_as.iter().map(ToString::to_string).collect();
            let may = Identity::new("catalog", &[], &reports_as).may_report_as(reporter);
            assert_eq!(may.is_ok(), expected, "{reports_as:?} {reporter}");
        };
        check(&[], "catalog", true);
        check(&[], "catalog-1", false);
        check(&["catalog-*"], "catalog-1", true);
        check(&["catalog-*"], "payments-1", false);
        check(&["catalog-1"], "catalog-10", false);
        check(&["*"], "payments-1", true);
        assert!(Identity::anonymous().may_report_as("any").is_ok());
    }
}
