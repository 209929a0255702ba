//! Annotations of one policy, parsed to types. Used when a directory is compiled and when a snapshot is loaded.

mod values;

use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{Policy, ResourceConstraint};

use crate::annotations::values::{BadValue, by, concurrency, cost, count, duration, limit, offline, priority};
use crate::diagnostics::{Severity, nearest};
use crate::model;
use crate::shaping::{Concurrency, Cost, Limit, MICROTOKENS, Scope, Shaping};

/// Annotations that only a shaping policy may have.
const SHAPING: &[&str] = &["limit", "burst", "by", "queue", "priority", "concurrency", "cost", "offline"];
/// Annotations that every policy may have.
const COMMON: &[&str] = &["id", "mode", "reason", "description", "owner"];
/// Longest time that a request may be made to wait for its token.
const QUEUE_MAX: Duration = Duration::from_secs(60);
/// Longest id.
const ID_BYTES_MAX: usize = 128;

/// Something wrong with an annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    /// The annotation, and whether its value is meant rather than its name. Empty: the policy as a whole.
    pub(crate) annotation: String,
    pub(crate) is_value: bool,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What the annotations of a policy say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotations {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) shadow: bool,
}

/// Reads the annotations of an access policy.
pub(crate) fn access(policy: &Policy) -> (Annotations, Vec<Problem>) {
    let mut reader = Reader::new(policy);
    let annotations = reader.common();
    for (name, _) in &reader.written {
        if SHAPING.contains(name) {
            reader.problems.push(name_problem(
                Severity::Error,
                "TG0203",
                name,
                format!("`@{name}` belongs to a shaping policy"),
                Some("move the policy to `shaping/`, where it limits and never grants".to_owned()),
            ));
        } else if !COMMON.contains(name)
            && let Some(meant) = nearest(name, ["id", "mode"])
        {
            let message = format!("`@{name}` is kept as a note and does nothing");
            let help = Some(format!("did you mean `@{meant}`?"));
            reader.problems.push(name_problem(Severity::Warning, "TG0201", name, message, help));
        }
    }
    if annotations.shadow && policy.effect() == cedar_policy::Effect::Permit {
        let message = "a `permit` in shadow mode does nothing, because it could never have refused a request";
        reader.problems.push(name_problem(Severity::Warning, "TG0208", "mode", message.to_owned(), None));
    }
    (annotations, reader.problems)
}

/// Reads the annotations of a shaping policy.
pub(crate) fn shaping(policy: &Policy) -> (Annotations, Shaping, Vec<Problem>) {
    let mut reader = Reader::new(policy);
    let annotations = reader.common();
    reader.unknown();
    let rate = reader.value("limit", limit);
    let burst = reader.value("burst", count);
    let shaping = Shaping {
        limit: rate.map(|(amount, window_s)| Limit::new(amount, window_s, burst)),
        by: reader.value("by", by).unwrap_or_default(),
        queue: reader.value("queue", |text| duration(text, QUEUE_MAX)),
        priority: reader.value("priority", priority),
        concurrency: reader.value("concurrency", concurrency),
        cost: reader.value("cost", cost).unwrap_or(Cost::Tokens(1)),
        offline: reader.value("offline", offline).unwrap_or_default(),
        shadow: annotations.shadow,
        scope: scope(policy),
    };
    reader.combinations(&shaping);
    if policy.effect() == cedar_policy::Effect::Forbid {
        reader.whole("TG0205", "only `permit` is allowed in a shaping policy, and reads \"at most\"");
    }
    (annotations, shaping, reader.problems)
}

fn scope(policy: &Policy) -> Scope {
    match policy.resource_constraint() {
        ResourceConstraint::Eq(uid) if uid.type_name().to_string() == model::SERVICE => {
            Scope::Service(Arc::from(uid.id().unescaped()))
        }
        _ => Scope::All,
    }
}

struct Reader<'a> {
    written: Vec<(&'a str, &'a str)>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(policy: &'a Policy) -> Self {
        Self { written: policy.annotations().collect(), problems: Vec::new() }
    }

    fn has(&self, name: &str) -> bool {
        self.written.iter().any(|(written, _)| *written == name)
    }

    /// The value of an annotation, where it is written and can be read.
    fn value<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, BadValue>) -> Option<T> {
        let (_, text) = self.written.iter().find(|(written, _)| *written == name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(BadValue { message, help }) => {
                self.problems.push(Problem {
                    severity: Severity::Error,
                    code: "TG0202",
                    annotation: name.to_owned(),
                    is_value: true,
                    message: format!("`@{name}`: {message}"),
                    help,
                });
                None
            }
        }
    }

    fn common(&mut self) -> Annotations {
        let id = self.value("id", id);
        let shadow = self.value("mode", mode).unwrap_or(false);
        Annotations { id, shadow }
    }

    fn unknown(&mut self) {
        let known = || SHAPING.iter().chain(COMMON).copied();
        for (name, _) in &self.written {
            if !known().any(|known| known == *name) {
                let help = match nearest(name, known()) {
                    Some(meant) => format!("did you mean `@{meant}`?"),
                    None => {
                        format!("known are {}", known().map(|name| format!("`@{name}`")).collect::<Vec<_>>().join(", "))
                    }
                };
                let message = format!("unknown annotation `@{name}`");
                self.problems.push(name_problem(Severity::Error, "TG0201", name, message, Some(help)));
            }
        }
    }

    /// What makes no sense together.
    fn combinations(&mut self, shaping: &Shaping) {
        for name in ["burst", "queue", "cost", "offline"] {
            if self.has(name) && !self.has("limit") {
                let message = format!("`@{name}` without `@limit`");
                self.problems.push(name_problem(Severity::Error, "TG0206", name, message, None));
            }
        }
        if self.has("by") && !self.has("limit") && !self.has("concurrency") {
            let message = "`@by` without `@limit` or `@concurrency`".to_owned();
            self.problems.push(name_problem(Severity::Error, "TG0206", "by", message, None));
        }
        if let (Some(limit), Cost::Tokens(tokens)) = (&shaping.limit, &shaping.cost)
            && u64::from(*tokens).saturating_mul(MICROTOKENS) > limit.burst
        {
            let message =
                format!("a request costs {tokens} tokens, more than the burst of {}", limit.burst / MICROTOKENS);
            let help = Some(format!("raise `@burst` to at least {tokens}"));
            self.problems.push(name_problem(Severity::Error, "TG0206", "cost", message, help));
        }
        if shaping.concurrency == Some(Concurrency::Adaptive) {
            let message = "`adaptive` is not enforced by this version: the policy does not limit simultaneous requests";
            self.problems.push(name_problem(Severity::Warning, "TG0207", "concurrency", message.to_owned(), None));
        }
        // Next to an annotation that could not be read it would only distract.
        if self.problems.is_empty() && !["limit", "priority", "concurrency"].iter().any(|name| self.has(name)) {
            self.problems.push(Problem {
                severity: Severity::Warning,
                ..whole_problem("TG0208", "does nothing: neither `@limit` nor `@priority` nor `@concurrency`")
            });
        }
    }

    fn whole(&mut self, code: &'static str, message: &str) {
        self.problems.push(whole_problem(code, message));
    }
}

fn whole_problem(code: &'static str, message: &str) -> Problem {
    name_problem(Severity::Error, code, "", message.to_owned(), None)
}

fn name_problem(
    severity: Severity,
    code: &'static str,
    annotation: &str,
    message: String,
    help: Option<String>,
) -> Problem {
    Problem { severity, code, annotation: annotation.to_owned(), is_value: false, message, help }
}

/// Ids go into headers, metrics and lists in SQL, so they are plain.
pub(crate) fn id(text: &str) -> Result<Arc<str>, BadValue> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    if text == model::NO_PERMIT {
        return Err(BadValue::new(format!("`{text}` stands for there being no policy that permits")));
    }
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.chars().all(is_plain) {
        return Err(BadValue::new(format!("`{text}` is not an id"))
            .help(format!("use up to {ID_BYTES_MAX} letters, digits and `.`, `_`, `-`, `:`, `/`")));
    }
    Ok(Arc::from(text))
}

fn mode(text: &str) -> Result<bool, BadValue> {
    match text {
        "shadow" => Ok(true),
        "enforce" => Ok(false),
        _ => Err(BadValue::unknown("mode", text, &["shadow", "enforce"])),
    }
}
