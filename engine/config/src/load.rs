//! From a YAML file to a typed value, or to the list of everything that is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest configuration file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem of the configuration as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }
}

/// Everything that is wrong with one configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems of one file, found by its owner after it was read.
    #[must_use]
    pub fn new(file: &Path, problems: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), problems }
    }

    /// What is wrong, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match problem.line {
                Some(line) => write!(f, "{}:{line}: {}", self.file.display(), problem.message)?,
                None => write!(f, "{}: {}", self.file.display(), problem.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads a YAML file of at most 1 MiB.
///
/// # Errors
/// All unknown keys, and the first value of a wrong type.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let fail = |message: String| ConfigError::new(path, vec![Problem::new(message)]);
    let size = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?.len();
    if size > FILE_BYTES_MAX {
        return Err(fail(format!("is {size} bytes long, and a configuration may have {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    from_str(path, &text)
}

/// As [`load`], from a text; `path` only names it in errors.
///
/// # Errors
/// All unknown keys, and the first value of a wrong type.
pub fn from_str<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    // A file with nothing but comments is an empty mapping, not null.
    let is_blank = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let text = if is_blank { "{}" } else { text };

    let mut unknown = Vec::new();
    let parsed: Result<T, serde_saphyr::Error> = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_ignored::deserialize(deserializer, |key| unknown.push(key.to_string()))
    });
    let mut problems: Vec<Problem> = unknown
        .iter()
        .map(|key| Problem { line: line_of(text, key), message: format!("unknown key `{key}`") })
        .collect();
    match parsed {
        Ok(value) if problems.is_empty() => return Ok(value),
        Ok(_) => {}
        Err(error) => {
            let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
            problems.push(Problem { line, message: message_of(&error) });
        }
    }
    problems.sort_by_key(|problem| problem.line);
    Err(ConfigError::new(path, problems))
}

/// The error's own words on one line, without the picture of the source and without the position, which is given apart.
fn message_of(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.split(" at line ").next().unwrap_or(first);
    message.strip_prefix("error: ").unwrap_or(message).to_owned()
}

/// The line where the key of this dotted path stands, looked for segment by segment.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let mut from = 0;
    for segment in path.split('.').filter(|segment| segment.parse::<usize>().is_err() && *segment != "?") {
        from = find_key(text, segment, from)?;
    }
    Some(text[..from].matches('\n').count() + 1)
}

/// Byte offset of `key:` at or after `from`, where no other name ends in it.
fn find_key(text: &str, key: &str, from: usize) -> Option<usize> {
    text[from..].match_indices(key).map(|(at, _)| from + at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + key.len()..].trim_start_matches(['"', '\'', ' ']);
        before.is_none_or(|before| before.is_whitespace() || "{,\"'".contains(before)) && after.starts_with(':')
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        #[serde(default)]
        name: String,
        #[serde(default)]
        listen: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        port: u16,
    }

    fn problems(text: &str) -> String {
        from_str::<Sample>(Path::new("tollgate.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn lists_all_unknown_keys_with_their_lines() {
        let text = "nam: a\nlisten:\n  http: { port: 1, prt: 2 }\n  grpc:\n    port: 2\n    ports: 3\nextra: 1\n";
        assert_eq!(
            problems(text),
            "tollgate.yaml:1: unknown key `nam`\n\
             tollgate.yaml:3: unknown key `listen.http.prt`\n\
             tollgate.yaml:6: unknown key `listen.grpc.ports`\n\
             tollgate.yaml:7: unknown key `extra`"
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line_beside_the_unknown_keys() {
        let text = "nam: a\nlisten:\n  http: { port: many }\n";
        let problems = problems(text);
        assert!(problems.starts_with("tollgate.yaml:1: unknown key `nam`\ntollgate.yaml:3: "), "{problems}");
        assert_eq!(problems.lines().count(), 2, "{problems}");
    }

    #[test]
    fn comments_alone_are_an_empty_configuration() {
        let empty = from_str::<Sample>(Path::new("x"), "# nothing\n\n").unwrap();
        assert_eq!(empty, Sample { name: String::new(), listen: BTreeMap::new() });
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = load::<Sample>(Path::new("does/not/exist.yaml")).unwrap_err().to_string();
        assert!(error.starts_with("does/not/exist.yaml: cannot be read: "), "{error}");
    }
}
