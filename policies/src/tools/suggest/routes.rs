//! Routes and paths as a condition: as they were seen where they are few, by pattern where they are many.

use std::collections::BTreeSet;

use super::{Target, quoted};

/// Most routes, and most patterns of paths, that a condition lists; where there are more it says nothing of them.
const LISTED_MAX: usize = 40;
/// More distinct values than this in one place of a path are a variable.
const VALUES_MAX: usize = 8;

/// The condition that holds for these targets; `None` for no condition.
pub(super) fn condition(targets: &[&Target]) -> Option<String> {
    let mut routes = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for target in targets {
        match target {
            Target::Route(route) => routes.insert(route.as_str()),
            Target::Path(path) => paths.insert(path.as_str()),
        };
    }
    let patterns = patterns(&paths);
    if routes.len() > LISTED_MAX || patterns.len() > LISTED_MAX || patterns.contains("*") {
        return None;
    }
    let mut parts = Vec::new();
    match routes.iter().collect::<Vec<_>>().as_slice() {
        [] => {}
        [route] => parts.push(format!("context has route && context.route == {}", quoted(route))),
        routes => {
            let list: Vec<_> = routes.iter().map(|route| quoted(route)).collect();
            parts.push(format!("context has route && [{}].contains(context.route)", list.join(", ")));
        }
    }
    parts.extend(patterns.iter().map(|pattern| like(pattern)));
    if parts.len() > 1 {
        parts = parts.into_iter().map(|part| format!("({part})")).collect();
    }
    Some(parts.join(" || "))
}

/// Paths with `*` for what looks like an id, or takes many values.
fn patterns(paths: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut patterns: BTreeSet<Vec<&str>> = paths.iter().map(|path| path.split('/').map(segment).collect()).collect();
    let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
    for place in (0..longest).rev() {
        patterns = generalised(&patterns, place);
    }
    patterns.into_iter().map(|segments| segments.join("/")).collect()
}

/// Paths that differ in one place only, by many values, become one.
fn generalised<'a>(patterns: &BTreeSet<Vec<&'a str>>, place: usize) -> BTreeSet<Vec<&'a str>> {
    let without = |pattern: &Vec<&'a str>| {
        let mut pattern = pattern.clone();
        if let Some(segment) = pattern.get_mut(place) {
            *segment = "*";
        }
        pattern
    };
    let is_many = |pattern: &Vec<&'a str>| {
        let general = without(pattern);
        patterns.iter().filter(|other| without(other) == general).count() > VALUES_MAX
    };
    // Only where there are many at all: each is compared with each.
    if patterns.len() <= VALUES_MAX {
        return patterns.clone();
    }
    let many: BTreeSet<_> = if patterns.len() > 2_000 {
        patterns.iter().map(&without).collect()
    } else {
        patterns.iter().map(|pattern| if is_many(pattern) { without(pattern) } else { pattern.clone() }).collect()
    };
    many
}

fn segment(segment: &str) -> &str {
    let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
    let is_hex = segment.len() >= 8 && segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || (is_hex && has_digit) || segment.len() > 64 { "*" } else { segment }
}

/// `context.path like "/items/*"`; a star that was in the path itself is one of the text.
fn like(pattern: &str) -> String {
    if !pattern.contains('*') {
        return format!("context.path == {}", quoted(pattern));
    }
    let segments = pattern.split('/').map(|segment| match segment {
        "*" => "*".to_owned(),
        other => other.escape_default().to_string().replace('*', "\\*"),
    });
    format!("context.path like \"{}\"", segments.collect::<Vec<_>>().join("/"))
}
