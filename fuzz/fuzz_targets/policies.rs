//! A policy directory: every text is taken or refused with diagnostics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_policies::{Mode, SourceFile, Sources, compile};

fuzz_target!(|texts: (&str, &str, &str)| {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
    let sources = Sources {
        access: vec![file("access/a.cedar", texts.0)],
        shaping: vec![file("shaping/a.cedar", texts.1)],
        entities: Some(file("entities.json", texts.2)),
        ..Sources::starter()
    };
    if let Err(diagnostics) = compile(&sources, &[], &Mode::default()) {
        assert!(diagnostics.has_errors());
    }
});
