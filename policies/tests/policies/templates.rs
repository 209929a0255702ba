//! Templates and their links: one policy for each link, and mistakes with their places.

use insta::assert_snapshot;
use tollgate_policies::{Clock, Compiled, Diagnostics, Enforcer, Facts, Mode, SourceFile, compile};

use crate::support::{allowed, get, said, signals, sources, whole};

const ACCESS: &str =
    "@id(\"readers\")\npermit (principal in ?principal, action in Action::\"read\", resource == ?resource);\n";
const SHAPING: &str = "@id(\"few\") @limit(\"1/s\")\npermit (principal in ?principal, action, resource);\n";

fn link(template: &str, id: &str, args: &str) -> String {
    format!("  {{ \"template_id\": \"{template}\", \"link_id\": \"{id}\", \"args\": {{ {args} }} }}")
}

fn linked(access: &str, shaping: &str, links: &[String]) -> Result<Compiled, Diagnostics> {
    let text = format!("[\n{}\n]", links.join(",\n"));
    let links = Some(SourceFile { path: "links.json".to_owned(), text });
    compile(&tollgate_policies::Sources { links, ..sources(access, shaping) }, &signals(), &Mode::default())
}

fn problems(access: &str, links: &[String]) -> String {
    match linked(access, "", links) {
        Ok(compiled) => format!("taken\n{}", compiled.warnings),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn each_link_is_a_policy_for_its_entities() {
    let both = "\"?principal\": \"Group::\\\"free\\\"\", \"?resource\": \"Service::\\\"shop/search\\\"\"";
    let other = "\"?principal\": \"Group::\\\"batch\\\"\", \"?resource\": \"Service::\\\"shop/cart\\\"\"";
    let links = [
        link("readers", "free-reads-search", both),
        link("few", "few-for-the-free", "\"?principal\": \"Group::\\\"free\\\"\""),
        link("readers", "batch-reads-cart", other),
    ];
    let compiled = linked(ACCESS, SHAPING, &links).unwrap();
    assert_eq!(compiled.warnings.to_string(), "");
    let shown: Vec<_> = compiled
        .policies
        .iter()
        .map(|policy| format!("{} {:?} {}", policy.id, policy.template, policy.origin))
        .collect();
    assert_eq!(
        shown,
        [
            "free-reads-search Some(\"readers\") access/base.cedar:1",
            "batch-reads-cart Some(\"readers\") access/base.cedar:1",
            "few-for-the-free Some(\"few\") shaping/limits.cedar:1",
        ]
    );
    let enforcer = Enforcer::new(Clock::paused(0));
    enforcer.apply(&whole(compiled.to_proto())).unwrap();
    assert_eq!(said(&enforcer, &get("shop/search")), "allow permitted [free-reads-search] []");
    assert_eq!(said(&enforcer, &get("shop/cart")), "deny no_permit [] []");
    let batch = Facts { source: "jobs/reindex", ..get("shop/cart") };
    assert_eq!(allowed(&enforcer, &batch, 5), 5);
    // The first of this test took the one token that there is.
    assert_eq!(said(&enforcer, &get("shop/search")), "limit rate [few-for-the-free] []");
}

#[test]
fn a_link_that_makes_no_policy_is_refused_at_its_place() {
    let group = "\"?principal\": \"Group::\\\"free\\\"\"";
    let whole = format!("{group}, \"?resource\": \"Service::\\\"shop/search\\\"\"");
    assert_snapshot!(problems(
        ACCESS,
        &[
            link("reders", "a", &whole),
            link("readers", "b", group),
            link("readers", "c", &format!("{whole}, \"?principle\": \"Group::\\\"free\\\"\"")),
            link("readers", "d", "\"?principal\": \"free\", \"?resource\": \"Service::\\\"shop/search\\\"\""),
            link("readers", "e e", &whole),
            "  { \"template\": \"readers\" }".to_owned(),
            link("readers", "same", &whole),
            link("readers", "same", &whole),
            link(
                "readers",
                "g",
                "\"?principal\": \"Gruop::\\\"free\\\"\", \"?resource\": \"Service::\\\"shop/search\\\"\""
            ),
            link(
                "readers",
                "h",
                "\"?principal\": \"Group::\\\"fre\\\"\", \"?resource\": \"Service::\\\"shop/search\\\"\""
            ),
            link("readers", "i", "\"?principal\": \"Group::\\\"free\\\"\", \"?resource\": \"Group::\\\"free\\\"\""),
        ],
    ));
}

#[test]
fn what_is_wrong_with_a_template_is_said_once_and_where_it_is_written() {
    let access = "@id(\"a\")\npermit (principal in ?principal, action, resource)\nwhen { context.pth == \"/\" || context.path > 3 };\n\
                  @id(\"b\") @mode(\"shadw\") forbid (principal == ?principal, action, resource) when { resource.signals.p99_ms > 5 };\n\
                  @id(\"c\") permit (principal == ?prncipal, action, resource);\n\
                  permit (principal, action, resource) when { principal == ?principal };\n\
                  permit (principal == ?principal, action, resource);";
    let args = "\"?principal\": \"Service::\\\"shop/search\\\"\"";
    let links = [link("a", "a-1", args), link("a", "a-2", args), link("b", "b-1", args)];
    assert_snapshot!(problems(access, &links));
}

#[test]
fn a_file_of_links_that_is_none_is_refused() {
    let said = |text: &str| {
        let links = Some(SourceFile { path: "links.json".to_owned(), text: text.to_owned() });
        let sources = tollgate_policies::Sources { links, ..sources(ACCESS, "") };
        let problems = compile(&sources, &signals(), &Mode::default()).unwrap_err();
        let error = problems.0.iter().find(|problem| problem.code == "TG0901").unwrap();
        error.to_string()
    };
    assert!(said("{}").starts_with("links.json:1:1: error[TG0901]: expected a list of links"));
    assert!(said("[\n { ]").starts_with("links.json:2:4: error[TG0901]: "), "{}", said("[\n { ]"));
}
