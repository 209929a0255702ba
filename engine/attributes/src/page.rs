//! The documentation page of the vocabulary, `docs/vocabulary.md`.

use std::fmt::Write as _;

use crate::vocabulary::ATTRIBUTES;

/// The page as Markdown. A test checks that `docs/vocabulary.md` equals it.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Vocabulary\n\n\
         One row of attributes per request: the columns of the table `requests`. This page is generated from \
         `engine/attributes/src/vocabulary.rs`; `make generate` writes it.\n\n\
         | column | Arrow type | in Cedar | meaning | OpenTelemetry | Mixer | Envoy access log |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for attribute in ATTRIBUTES {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            attribute.name,
            attribute.kind.data_type(),
            code(attribute.cedar),
            attribute.doc,
            code(attribute.otel),
            code(attribute.mixer),
            code(attribute.envoy),
        );
    }
    page
}

fn code(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("`{name}`") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_page_in_docs_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vocabulary.md");
        let page = super::markdown();
        if std::env::var_os("TOLLGATE_GENERATE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), page, "docs/vocabulary.md is old: run `make generate`");
    }
}
