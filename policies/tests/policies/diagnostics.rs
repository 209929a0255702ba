use insta::assert_snapshot;
use tollgate_policies::{Mode, Sources, compile};

use crate::support::{ALL, compiled, signals, sources, try_compile};

fn problems(access: &str, shaping: &str) -> String {
    match try_compile(access, shaping) {
        Ok(compiled) => format!("taken\n{}", compiled.warnings),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_syntax_error_hides_no_other_problem() {
    assert_snapshot!(problems(
        "permit (principal action, resource);\n\
         permit (principal, action, resource) when { context.path = \"/\" };\n\
         permit (principal, action, resource) when { resource.signals.p99_ms > 5 };\n\
         permit (principal, action, resource) when { \"5\" > 5 };\n\
         permit (principal, action, resource)",
        "",
    ));
}

#[test]
fn names_the_type_that_was_expected() {
    assert_snapshot!(problems(
        "forbid (principal, action, resource)\nwhen { context.is_mtls == \"yes\" || context.path > 3 };\n\
         forbid (principal, action, resource in Service::\"shop/search\") when { resource.signals has mood && resource.signals.mood > 3 };",
        "",
    ));
}

#[test]
fn suggests_the_name_that_was_meant() {
    assert_snapshot!(problems(
        "forbid (principal, action, resource) when { resource.signals has p99ms && resource.signals.p99ms > 5 };\n\
         forbid (principal, action, resource) when { resource.signals has p99_sm };\n\
         permit (principal, action, resource) when { context.pth == \"/\" };\n\
         permit (principal, action, resource) when { context has usr };\n\
         permit (principal, action, resource) when { principal has teir && principal.teir == \"free\" };\n\
         permit (principal, action, resource) when { context has user && context.user has aeg };\n\
         permit (principal in Gruop::\"free\", action, resource);\n\
         permit (principal, action == Action::\"GETT\", resource);\n\
         permit (principal in Group::\"fre\", action, resource);\n\
         permit (principal == Service::\"free\", action, resource);\n\
         permit (principal, action, resource) when { context.headers[\"X-Tenant\"] == \"a\" };",
        "",
    ));
}

#[test]
fn asks_to_test_for_optional_attributes() {
    assert_snapshot!(problems(
        "forbid (principal, action, resource) when { resource.signals.p99_ms > 5 };\n\
         forbid (principal, action, resource) when { context.headers[\"x-tenant\"] == \"a\" };\n\
         forbid (principal, action, resource) when { context.user.age < 18 };",
        "",
    ));
}

#[test]
fn refuses_bad_annotations_at_their_place() {
    let policy = "permit (principal, action, resource);";
    let bad = [
        "@limit(\"100\")",
        "@limit(\"0/s\")",
        "@limit(\"5/fortnight\")",
        "@limit(\"1/s\")\n  @burst(\"many\")",
        "@limit(\"1/s\") @by(\"principle\")",
        "@limit(\"1/s\") @by(\"principal, principal\")",
        "@limit(\"1/s\") @by(\"context.headers[X-Tenant]\")",
        "@limit(\"1/s\") @queue(\"5 minutes\")",
        "@limit(\"1/s\") @queue(\"5m\")",
        "@priority(\"hgih\")",
        "@concurrency(\"0\")",
        "@limit(\"1/s\") @cost(\"wieght\")",
        "@limit(\"1/s\") @cost(\"principal.wieght\")",
        "@limit(\"1/s\") @cost(\"principal.tier\")",
        "@limit(\"3/s\") @cost(\"4\")",
        "@limit(\"1/s\") @offline(\"open\")",
        "@limti(\"1/s\")",
        "@limit(\"1/s\") @mode(\"shdow\")",
        "@burst(\"4\")",
        "@by(\"principal\")",
        "@limit(\"1/s\") @id(\"a b\")",
        "@limit(\"1/s\") @id(\"no_permit\")",
        "@limit",
        "",
        "@concurrency(\"adaptive\")",
    ];
    let shaping: String = bad.iter().map(|annotations| format!("{annotations} {policy}\n")).collect();
    assert_snapshot!(problems(ALL, &format!("{shaping}@limit(\"1/s\") forbid (principal, action, resource);")));
}

#[test]
fn keeps_annotations_of_shaping_out_of_access() {
    assert_snapshot!(problems(
        "@id(\"a\") @limit(\"5/s\") permit (principal, action, resource);\n\
         @id(\"b\") @modes(\"shadow\") @ticket(\"SEC-1\") forbid (principal, action, resource == Service::\"a/b\");\n\
         @id(\"c\") @mode(\"shadow\") permit (principal, action, resource);",
        "",
    ));
}

#[test]
fn names_both_places_of_an_id() {
    assert_snapshot!(problems(
        &format!("{ALL}\n\n{ALL}"),
        "\n\n@id(\"all\") @priority(\"high\") permit (principal, action, resource);"
    ));
}

#[test]
fn checks_entities() {
    let mut sources = sources(ALL, "");
    let mut check = |text: &str| {
        sources.entities.as_mut().unwrap().text = text.to_owned();
        match compile(&sources, &signals(), &Mode::default()) {
            Ok(_) => "taken".to_owned(),
            Err(problems) => problems.to_string(),
        }
    };
    let all = [
        "{}",
        "[\n{ \"uid\": }]",
        r#"[{ "uid": { "type": "Servise", "id": "a/b" } }]"#,
        r#"[{ "uid": { "type": "Service", "id": "ab" } },
           { "uid": { "type": "Group", "id": "g" } },
           { "uid": { "type": "Group", "id": "g" } }]"#,
        r#"[{ "uid": { "type": "User", "id": "a" }, "attrs": { "age": 5 } },
           { "uid": { "type": "User", "id": "b" }, "attrs": { "age": "five", "size": 1.5, "signals": {} } }]"#,
        r#"[{ "uid": { "type": "User", "id": "a" }, "parents": [{ "type": "Service", "id": "a/b" }] }]"#,
        r#"[{ "uid": { "type": "Group", "id": "a" }, "parents": [{ "type": "Group", "id": "b" }] },
           { "uid": { "type": "Group", "id": "b" }, "parents": [{ "type": "Group", "id": "a" }] }]"#,
        r#"[{ "uid": { "type": "User", "id": "a" }, "attrs": { "tags": [], "from": { "__extn": { "fn": "ip", "arg": "10.0.0.0/8" } } } }]"#,
    ];
    assert_snapshot!(all.map(&mut check).join("\n---\n"));
}

#[test]
fn the_starter_policies_are_clean() {
    let mut schema = signals();
    let more = ["requests_per_s", "p50_ms"].map(|name| (name.to_owned(), tollgate_policies::SignalType::Integer));
    schema[0].signals.extend(more);
    let compiled =
        compile(&Sources::starter(), &schema, &Mode::default()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(compiled.warnings.to_string(), "");
    let list = compiled.policies.iter().map(|policy| format!("{} {:?} {}", policy.origin, policy.effect, policy.id));
    assert_snapshot!(list.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_digest_tells_policies_and_modes_and_not_signals() {
    let digest = |access: &str, observe, schema: &[_]| {
        let mode = Mode { observe, ..Mode::default() };
        compile(&sources(access, ""), schema, &mode).unwrap().digest
    };
    let base = digest(ALL, false, &signals());
    assert_eq!(base, digest(ALL, false, &[]));
    assert_eq!(base, digest(&format!("// a comment between policies\n{ALL}"), false, &[]));
    assert_ne!(base, digest(ALL, true, &[]));
    assert_ne!(base, digest("@id(\"other\") permit (principal, action, resource);", false, &[]));
}

#[test]
fn reads_back_what_it_wrote_and_passes_over_what_editors_leave() {
    let dir = tempfile::tempdir().unwrap();
    let mut starter = Sources::starter();
    starter.write(dir.path()).unwrap();
    for name in ["access/.shop.cedar.swp", "access/shop.cedar~", "access/#shop.cedar#", ".hidden"] {
        std::fs::write(dir.path().join(name), "broken").unwrap();
    }
    starter.tests.clear();
    assert_eq!(Sources::read(dir.path()).unwrap(), starter);
    std::fs::write(dir.path().join("shop.cedar"), "").unwrap();
    std::fs::write(dir.path().join("shaping/readme.md"), "").unwrap();
    assert_eq!(Sources::read(dir.path()).unwrap().strays, ["shaping/readme.md", "shop.cedar"]);
    std::fs::write(dir.path().join("access/a.cedar"), [0xff]).unwrap();
    std::fs::write(dir.path().join("access/b.cedar"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_snapshot!(Sources::read(dir.path()).unwrap_err());
}

#[test]
fn declarations_of_lists_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir_all(dir.path().join("access")).unwrap();
    std::fs::create_dir_all(dir.path().join("lists")).unwrap();
    write("access/all.cedar", ALL);
    write("lists/bad-addresses.yaml", "kind: cidr\nfile: bad-addresses.txt\n");
    write("lists/bad-addresses.txt", "192.0.2.0/24\n");
    write("lists/users.yaml", "kind: exact\nof: usr\nfile: users.txt\n");
    let sources = Sources::read(dir.path()).unwrap();
    assert!(sources.strays.is_empty(), "{:?}", sources.strays);
    let copy = tempfile::tempdir().unwrap();
    sources.write(copy.path()).unwrap();
    assert_eq!(Sources::read(copy.path()).unwrap(), sources);
    write("lists/again.yaml", "name: bad-addresses\nkind: cidr\nfile: other.txt\n");
    let sources = Sources::read(dir.path()).unwrap();
    let problems = compile(&sources, &signals(), &Mode::default()).unwrap_err();
    let said: Vec<_> = problems.0.iter().map(|problem| (problem.code, problem.file.as_str())).collect();
    let again =
        [("TG0803", "lists/again.yaml"), ("TG0805", "lists/bad-addresses.yaml"), ("TG0802", "lists/users.yaml")];
    assert_eq!(said, again);
}

#[test]
fn a_missing_directory_is_one_clear_error() {
    let problems = Sources::read(std::path::Path::new("no/such/directory")).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert!(
        problems.to_string().starts_with("error[TG0001]: cannot read directory `no/such/directory`: "),
        "{problems}"
    );
}

#[test]
fn gives_each_policy_its_id_text_and_place() {
    let compiled = compiled(
        "// first\npermit (principal, action, resource); @id(\"named\")\nforbid (principal, action == Action::\"PUT\", resource);",
        "@limit(\"60/m\") permit (principal, action, resource == Service::\"shop/search\");",
    );
    let shown = compiled.policies.iter().map(|policy| {
        let shaping = policy.shaping.as_ref().map(|shaping| format!("{} {:?}", shaping.scope, shaping.limit));
        format!("{} {} {:?} {:?}", policy.id, policy.origin, policy.text, shaping)
    });
    assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
}

/// From the first character of what is wrong to the last.
#[test]
fn says_where_what_is_wrong_ends() {
    let access = "@id(\"a b\") permit (principal, action, resource) when { context.pth == \"/\" };\n\
                  @id(\"b\") permit (principal, action, resource)\n  when { context.path > 3 };\n";
    let problems = try_compile(access, "@limti(\"1/s\") permit (principal, action, resource);").unwrap_err();
    let lines: Vec<_> = access.lines().collect();
    let wrong = problems.0.iter().filter(|problem| problem.file == "access/base.cedar").map(|problem| {
        assert_eq!(problem.line, problem.end_line as usize, "{problem}");
        &lines[problem.line - 1][problem.column - 1..problem.end_column as usize - 1]
    });
    assert_eq!(wrong.collect::<Vec<_>>(), ["\"a b\"", "pth", "context.path"]);
}
