//! Templates, and `links.json`, which says for whom each stands.
//!
//! A template is a policy with `?principal` or `?resource` in its scope. Each link of it becomes a policy of its own: the
//! template with the entities of the link in the places of the slots, which is what a link means to Cedar. So nothing
//! after this knows of templates: reporters get policies without slots.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::EntityUid;
use serde::Deserialize;
use serde_json::Value;

use crate::annotations;
use crate::cedar::Site;
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::entities::elements;
use crate::sources::{SourceFile, Sources};
use crate::text::{self, Token};

/// The file of links, at the root of the directory.
pub(crate) const LINKS: &str = "links.json";
/// Most bytes that all linked policies may have together.
const LINKED_BYTES_MAX: usize = 64 << 20;
/// Slots, and for each an entity of as many bytes, which may stand in its place where only conditions are looked at.
const SLOTS: [(&str, &str); 2] = [("?principal", "Group::\"?\""), ("?resource", "Group::\"\"")];

/// One link, as a policy.
#[derive(Debug)]
pub(crate) struct Linked<'a> {
    pub(crate) id: Arc<str>,
    pub(crate) template: Arc<str>,
    /// Cedar source of it.
    pub(crate) text: String,
    /// Where its template is.
    pub(crate) written: Site<'a>,
    /// Where the link is.
    pub(crate) at: (usize, usize),
    cuts: Vec<Cut>,
}

/// What was put in the place of a part of the template.
#[derive(Debug)]
struct Cut {
    written: Range<usize>,
    put: Range<usize>,
    /// Where in `links.json` that is said.
    at: (usize, usize),
}

/// Linked policies by file and offset of their template, each list in the order of `links.json`.
#[derive(Debug, Default)]
pub(crate) struct Links<'a>(BTreeMap<(&'a str, usize), Vec<Linked<'a>>>);

impl<'a> Links<'a> {
    /// Links of the template that is written here.
    pub(crate) fn of(&self, template: Site<'a>) -> &[Linked<'a>] {
        self.0.get(&(template.file, template.start)).map_or(&[], Vec::as_slice)
    }
}

impl<'a> Linked<'a> {
    /// File, line and column of an offset in its text.
    pub(crate) fn place(&self, at: usize) -> (&'a str, (usize, usize)) {
        let mut written = at;
        for cut in &self.cuts {
            if cut.put.contains(&at) {
                return (LINKS, cut.at);
            }
            if cut.put.end <= at {
                written = at - cut.put.end + cut.written.end;
            }
        }
        (self.written.file, text::place(self.written.text, self.written.start + written))
    }

    /// As a place to find things in.
    pub(crate) fn site(&'a self) -> Site<'a> {
        Site { file: self.written.file, text: &self.text, start: 0, link: Some(self) }
    }

    /// A diagnostic about the link itself.
    pub(crate) fn diagnostic(&self, severity: Severity, code: &'static str, message: String) -> Diagnostic {
        Diagnostic { severity, ..Diagnostic::error(code, LINKS, message) }.at(self.at)
    }
}

/// Whether a policy has slots.
pub(crate) fn is_template(statement: &str) -> bool {
    text::tokens(statement).any(|(token, _)| token == Token::Symbol('?'))
}

/// The template with an entity in each slot, and everything else where it was.
pub(crate) fn filled(statement: &str) -> String {
    let mut text = statement.to_owned();
    for (slot, range) in slots(statement) {
        let filler = SLOTS.iter().find(|(name, _)| *name == slot).map_or("", |(_, filler)| filler);
        text.replace_range(range, filler);
    }
    text
}

fn slots(statement: &str) -> Vec<(&'static str, Range<usize>)> {
    let mut found = Vec::new();
    let mut before: Option<Range<usize>> = None;
    for (token, range) in text::tokens(statement) {
        if token == Token::Word
            && let Some(mark) = before.take().filter(|mark| mark.end == range.start)
        {
            let range = mark.start..range.end;
            let slot = SLOTS.iter().find(|(name, _)| statement[range.clone()] == **name);
            found.extend(slot.map(|(name, _)| (*name, range)));
        }
        before = (token == Token::Symbol('?')).then_some(range);
    }
    found
}

/// One link as it is written: the same as in the files of Cedar's command line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    template_id: String,
    link_id: String,
    #[serde(default)]
    args: BTreeMap<String, String>,
}

struct Template<'a> {
    id: Arc<str>,
    site: Site<'a>,
    text: &'a str,
}

/// Makes a policy of each link, and says what is wrong with those of which none can be made.
pub(crate) fn links<'a>(sources: &'a Sources, problems: &mut Diagnostics) -> Links<'a> {
    let templates = templates(sources);
    let mut links = Links::default();
    let mut used = BTreeSet::new();
    let mut bytes = 0;
    if let Some(file) = &sources.links {
        for (value, range) in items(file, problems) {
            let at = text::place(&file.text, range.start);
            let element = &file.text[range.clone()];
            let link = match serde_json::from_value::<Written>(value) {
                Ok(link) => link,
                Err(error) => {
                    let help =
                        r#"write { "template_id": .., "link_id": .., "args": { "?principal": "Group::\"..\"" } }"#;
                    problems.0.push(Diagnostic::error("TG0902", LINKS, error.to_string()).at(at).help(help));
                    continue;
                }
            };
            let place = |word: &str| {
                let offset = text::find_word(element, word).unwrap_or(0);
                text::place(&file.text, range.start + offset)
            };
            used.insert(link.template_id.clone());
            match linked(&link, &templates, at, &place) {
                Ok(linked) => {
                    bytes += linked.text.len();
                    if bytes > LINKED_BYTES_MAX {
                        let message = "all linked policies together are larger than 64 MiB";
                        problems.0.push(Diagnostic::error("TG0002", LINKS, message).at(at));
                        break;
                    }
                    links.0.entry((linked.written.file, linked.written.start)).or_default().push(linked);
                }
                Err(found) => problems.0.extend(found),
            }
        }
    }
    for template in templates.iter().filter(|template| !used.contains(&*template.id)) {
        let message = format!("nothing links the template `{}`, so that it does nothing", template.id);
        let help = format!("link it in {LINKS}, or take out its slots");
        problems.0.push(template.site.diagnostic(Severity::Warning, "TG0905", 0, message).help(help));
    }
    links
}

fn items(file: &SourceFile, problems: &mut Diagnostics) -> Vec<(Value, Range<usize>)> {
    match serde_json::from_str::<Value>(&file.text) {
        Ok(Value::Array(items)) => return items.into_iter().zip(elements(&file.text)).collect(),
        Ok(_) => {
            let message = "expected a list of links, `[{ \"template_id\": .., \"link_id\": .., \"args\": .. }, .. ]`";
            problems.0.push(Diagnostic::error("TG0901", &file.path, message).at((1, 1)));
        }
        Err(error) => {
            let place = (error.line().max(1), error.column().max(1));
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            problems.0.push(Diagnostic::error("TG0901", &file.path, message).at(place));
        }
    }
    Vec::new()
}

fn templates(sources: &Sources) -> Vec<Template<'_>> {
    let files = sources.access.iter().chain(&sources.shaping);
    let templates = files.flat_map(|file| {
        let statements = text::statements(&file.text).into_iter().enumerate();
        statements.filter_map(|(index, range)| {
            let site = Site { file: &file.path, text: &file.text, start: range.start, link: None };
            let text = &file.text[range];
            let id = || written_id(text).unwrap_or_else(|| default_id(&file.path, index + 1));
            is_template(text).then(|| Template { id: id(), site, text })
        })
    });
    templates.collect()
}

/// `base#3` for the third policy of a file.
pub(crate) fn default_id(file: &str, number: usize) -> Arc<str> {
    let name = file.rsplit('/').next().unwrap_or(file);
    Arc::from(format!("{}#{number}", name.trim_end_matches(".cedar")))
}

fn written_id(statement: &str) -> Option<Arc<str>> {
    let range = id_value(statement)?;
    Some(Arc::from(statement[range].trim_matches('"')))
}

/// Where the value of `@id` stands.
fn id_value(statement: &str) -> Option<Range<usize>> {
    let place = text::annotations(statement).into_iter().find(|place| place.name == "id")?;
    (place.value_at > place.at).then(|| place.value_at..text::end_of_text(statement, place.value_at))
}

fn linked<'a>(
    link: &Written,
    templates: &[Template<'a>],
    at: (usize, usize),
    place: &impl Fn(&str) -> (usize, usize),
) -> Result<Linked<'a>, Vec<Diagnostic>> {
    let said = |code, word: &str, message: String| Diagnostic::error(code, LINKS, message).at(place(word));
    let Some(template) = templates.iter().find(|template| *template.id == *link.template_id) else {
        let known = templates.iter().map(|template| &*template.id);
        let message = format!("there is no template `{}`", link.template_id);
        let problem = said("TG0903", &link.template_id, message).suggest(&link.template_id, known);
        return Err(vec![problem]);
    };
    let mut problems = Vec::new();
    if let Err(wrong) = annotations::id(&link.link_id) {
        let problem = said("TG0902", &link.link_id, format!("`link_id`: {}", wrong.message));
        problems.push(Diagnostic { help: wrong.help, ..problem });
    }
    let slots = slots(template.text);
    let wanted: BTreeSet<&str> = slots.iter().map(|(slot, _)| *slot).collect();
    for slot in link.args.keys().filter(|slot| !wanted.contains(slot.as_str())) {
        let message = format!("the template `{}` has no slot `{slot}`", template.id);
        problems.push(said("TG0904", slot, message).suggest(slot, wanted.iter().copied()));
    }
    let mut entities: BTreeMap<&str, String> = BTreeMap::new();
    for slot in wanted {
        match link.args.get(slot).map(|written| (written, written.parse::<EntityUid>())) {
            Some((_, Ok(uid))) => drop(entities.insert(slot, uid.to_string())),
            Some((written, Err(_))) => {
                let message = format!("`{written}` is not an entity");
                problems.push(said("TG0904", slot, message).help("write `Group::\"free\"`"));
            }
            None => {
                let message = format!("the slot `{slot}` of the template `{}` is not filled", template.id);
                problems.push(Diagnostic::error("TG0904", LINKS, message).at(at));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let id = id_value(template.text).map(|range| (range, format!("\"{}\"", link.link_id), place(&link.link_id)));
    let filled = slots.iter().map(|(slot, range)| (range.clone(), entities[slot].clone(), place(slot)));
    let (text, cuts) = put(template.text, id.into_iter().chain(filled));
    let (id, name) = (Arc::from(link.link_id.as_str()), Arc::clone(&template.id));
    Ok(Linked { id, template: name, text, written: template.site, at, cuts })
}

/// Puts texts in the places of parts, which are in order.
fn put(statement: &str, parts: impl Iterator<Item = (Range<usize>, String, (usize, usize))>) -> (String, Vec<Cut>) {
    let (mut text, mut cuts, mut from) = (String::with_capacity(statement.len()), Vec::new(), 0);
    for (written, new, at) in parts {
        text.push_str(&statement[from..written.start]);
        let start = text.len();
        text.push_str(&new);
        from = written.end;
        cuts.push(Cut { written, put: start..text.len(), at });
    }
    text.push_str(&statement[from..]);
    (text, cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_in_a_slot_moves_nothing() {
        let text =
            "permit (principal in ?principal, action, resource == ?resource) when { \"?principal\" == context.path };";
        let filled = filled(text);
        assert_eq!(filled.len(), text.len());
        assert!(
            filled.starts_with(
                "permit (principal in Group::\"?\", action, resource == Group::\"\") when { \"?principal\""
            )
        );
        assert!(is_template(text) && !is_template(&filled));
    }

    #[test]
    fn places_in_a_linked_policy_are_those_of_the_template_and_of_the_link() {
        let file = "// a\n@id(\"t\")\npermit (principal in ?principal, action, resource) when { oops };";
        let site = Site { file: "access/a.cedar", text: file, start: 5, link: None };
        let template = Template { id: Arc::from("t"), site, text: &file[5..] };
        let link = Written {
            template_id: "t".to_owned(),
            link_id: "long-name".to_owned(),
            args: BTreeMap::from([("?principal".to_owned(), "Group::\"free\"".to_owned())]),
        };
        let place = |word: &str| if word == "?principal" { (7, 7) } else { (6, 6) };
        let linked = linked(&link, &[template], (5, 5), &place).unwrap();
        assert!(
            linked.text.starts_with("@id(\"long-name\")\npermit (principal in Group::\"free\", action"),
            "{}",
            linked.text
        );
        let find = |word: &str| linked.place(linked.text.find(word).unwrap());
        assert_eq!(find("long"), (LINKS, (6, 6)));
        assert_eq!(find("free"), (LINKS, (7, 7)));
        assert_eq!(find("permit"), ("access/a.cedar", (3, 1)));
        assert_eq!(find("oops"), ("access/a.cedar", text::place(file, file.find("oops").unwrap())));
    }
}
