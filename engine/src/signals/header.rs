//! The comment at the head of a signal file: `-- entity: Service`, `-- every: 1s`.

use std::time::Duration;

use tollgate_config::DurationText;
use tollgate_policies::Diagnostic;

use crate::suggest::closest;

/// Entities that can have signals.
const ENTITIES: [&str; 3] = ["Service", "User", "Namespace"];
const KEYS: [&str; 2] = ["entity", "every"];
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the comment says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) entity_type: String,
    pub(super) every: Duration,
}

/// Reads the lines before the query; `Err` holds everything that is wrong with them.
pub(super) fn read(path: &str, text: &str, default_every: Duration) -> Result<Header, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut entity_type = None;
    let mut every = default_every;
    for (line, key, value) in keys(text) {
        let at = |diagnostic: Diagnostic| diagnostic.at((line, 1));
        match key {
            "entity" if ENTITIES.contains(&value) => entity_type = Some(value.to_owned()),
            "entity" => {
                entity_type = Some(value.to_owned());
                problems.push(at(unknown_entity(path, value)));
            }
            "every" => match parse_every(value) {
                Ok(duration) => every = duration,
                Err(message) => problems.push(at(Diagnostic::error("TG0502", path, message))),
            },
            _ => problems.extend(misspelt(path, key).map(at)),
        }
    }
    match entity_type {
        Some(entity_type) if problems.is_empty() => Ok(Header { entity_type, every }),
        Some(_) => Err(problems),
        None => {
            let missing = Diagnostic::error("TG0501", path, "the file does not say whose signals it computes");
            problems.push(missing.at((1, 1)).help("begin it with `-- entity: Service`"));
            Err(problems)
        }
    }
}

/// Line, key and value of each `-- key: value` before the query.
fn keys(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .take_while(|(_, line)| line.is_empty() || line.starts_with("--"))
        .filter_map(|(number, line)| {
            let (key, value) = line.trim_start_matches('-').split_once(':')?;
            let key = key.trim();
            (!key.is_empty() && !key.contains(' ')).then(|| (number, key, value.trim()))
        })
}

fn unknown_entity(path: &str, written: &str) -> Diagnostic {
    let problem = Diagnostic::error("TG0501", path, format!("entities of type `{written}` have no signals"));
    match closest_word(written, &ENTITIES) {
        Some(known) => problem.help(format!("did you mean `{known}`?")),
        None => problem.help(format!("write one of `{}`", ENTITIES.join("`, `"))),
    }
}

fn misspelt(path: &str, key: &str) -> Option<Diagnostic> {
    let known = closest_word(key, &KEYS)?;
    Some(Diagnostic::error("TG0503", path, format!("unknown key `{key}`")).help(format!("did you mean `{known}`?")))
}

fn closest_word<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower: Vec<String> = known.iter().map(|word| word.to_ascii_lowercase()).collect();
    let found = closest(written, lower.iter().map(String::as_str))?.to_owned();
    known.iter().copied().find(|word| word.eq_ignore_ascii_case(&found))
}

fn parse_every(value: &str) -> Result<Duration, String> {
    let DurationText(every) = value.parse().map_err(|error: tollgate_config::UnitError| error.to_string())?;
    if (EVERY_MIN..=EVERY_MAX).contains(&every) {
        return Ok(every);
    }
    Err(format!("`{value}` is out of range: signals are computed every 100ms to 1d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, u64), &[&str]>) {
        let header = read("signals/a.sql", text, Duration::from_secs(1));
        match expected {
            Ok((entity_type, every_ms)) => {
                let every = Duration::from_millis(every_ms);
                assert_eq!(header.unwrap(), Header { entity_type: entity_type.to_owned(), every }, "{text}");
            }
            Err(messages) => {
                let problems: Vec<String> = header.unwrap_err().iter().map(ToString::to_string).collect();
                assert_eq!(problems, messages, "{text}");
            }
        }
    }

    #[test]
    fn reads_entity_and_rhythm() {
        check("-- entity: Service\n-- every: 5s\nSELECT 1", Ok(("Service", 5_000)));
        check("\n-- How busy users are.\n--entity:User\nSELECT 1 -- every: 9s", Ok(("User", 1_000)));
    }

    #[test]
    fn names_every_problem_and_its_line() {
        check(
            "-- entity: Servis\n-- every: soon\n-- evry: 1s\nSELECT 1",
            Err(&[
                "signals/a.sql:1:1: error[TG0501]: entities of type `Servis` have no signals; help: did you mean `Service`?",
                "signals/a.sql:2:1: error[TG0502]: `soon` is no duration: write a whole number with its unit, such as \
                 `250ms`, `10s` or `7d`",
                "signals/a.sql:3:1: error[TG0503]: unknown key `evry`; help: did you mean `every`?",
            ]),
        );
        check(
            "SELECT 1",
            Err(&[
                "signals/a.sql:1:1: error[TG0501]: the file does not say whose signals it computes; help: begin it with \
                   `-- entity: Service`",
            ]),
        );
        check(
            "-- entity: User\n-- every: 1ms",
            Err(&["signals/a.sql:2:1: error[TG0502]: `1ms` is out of range: signals are computed every 100ms to 1d"]),
        );
    }
}
