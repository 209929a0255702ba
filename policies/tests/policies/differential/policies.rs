//! Policies with every operator of Cedar, and templates with their links.

use serde_json::{Map, Value, json};

use super::generate::{GROUPS, NAMESPACES, SERVICES, USERS};
use super::random::Random;

/// A policy, or a template with its links.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) text: String,
    /// `None` for a policy without slots.
    pub(crate) links: Option<Vec<Link>>,
}

/// Entities for the slots that there are.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) principal: Option<String>,
    pub(crate) resource: Option<String>,
}

/// Policies with every operator.
pub(crate) fn policies(random: &mut Random, most: usize) -> Vec<Statement> {
    (0..random.below(most + 1)).map(|_| statement(random)).collect()
}

/// The file of policies.
pub(crate) fn text(statements: &[Statement]) -> String {
    statements.iter().map(|statement| statement.text.as_str()).collect()
}

/// `links.json`, in which a template is named by its place.
pub(crate) fn links(statements: &[Statement]) -> String {
    let mut links = Vec::new();
    for (number, statement) in statements.iter().enumerate() {
        for (link_number, link) in statement.links.iter().flatten().enumerate() {
            let slots = [("?principal", &link.principal), ("?resource", &link.resource)];
            let args: Map<_, _> = slots
                .into_iter()
                .filter_map(|(slot, entity)| Some((slot.to_owned(), entity.clone()?.into())))
                .collect();
            let template = format!("base#{}", number + 1);
            let id = format!("link-{number}-{link_number}");
            links.push(json!({ "template_id": template, "link_id": id, "args": args }));
        }
    }
    Value::Array(links).to_string()
}

fn statement(random: &mut Random) -> Statement {
    if !random.one_in(4) {
        return Statement { text: policy(random, None, None), links: None };
    }
    let slot = |random: &mut Random, name: &str| {
        let constraint = random.pick(&["in", "==", "is Service in"]);
        (!random.one_in(3)).then(|| (format!("{name} {constraint} ?{name}"), constraint))
    };
    let (principal, resource) = (slot(random, "principal"), slot(random, "resource"));
    let text = policy(random, principal.as_ref().map(|slot| &*slot.0), resource.as_ref().map(|slot| &*slot.0));
    if principal.is_none() && resource.is_none() {
        return Statement { text, links: None };
    }
    let link = |random: &mut Random| {
        let mut entity = |slot: &Option<(String, &str)>| {
            slot.as_ref().map(|(_, constraint)| match (*constraint, random.below(3)) {
                ("==", _) => format!("Service::\"{}\"", random.pick(SERVICES)),
                (_, 0) => format!("Namespace::\"{}\"", random.pick(NAMESPACES)),
                _ => format!("Group::\"g{}\"", random.below(GROUPS)),
            })
        };
        Link { principal: entity(&principal), resource: entity(&resource) }
    };
    let links = (0..random.below(4)).map(|_| link(random)).collect();
    Statement { text, links: Some(links) }
}

fn policy(random: &mut Random, principal: Option<&str>, resource: Option<&str>) -> String {
    let effect = if random.one_in(3) { "forbid" } else { "permit" };
    let principal = principal.map_or_else(|| entity(random, "principal"), str::to_owned);
    let resource = resource.map_or_else(|| entity(random, "resource"), str::to_owned);
    let action = random.pick(&[
        "action",
        "action",
        "action == Action::\"GET\"",
        "action in Action::\"read\"",
        "action in [Action::\"POST\", Action::\"read\"]",
        "action in [Action::\"OTHER\"]",
    ]);
    let clauses: String = (0..random.below(3)).map(|_| clause(random)).collect();
    format!("{effect} ({principal}, {action}, {resource}){clauses};\n")
}

fn entity(random: &mut Random, name: &str) -> String {
    match random.below(8) {
        0..=2 => name.to_owned(),
        3 => format!("{name} == Service::\"{}\"", random.pick(SERVICES)),
        4 => format!("{name} in Group::\"g{}\"", random.below(GROUPS)),
        5 => format!("{name} in Namespace::\"{}\"", random.pick(NAMESPACES)),
        6 => format!("{name} is Service in Group::\"g{}\"", random.below(GROUPS)),
        _ => format!("{name} is Service"),
    }
}

fn clause(random: &mut Random) -> String {
    let keyword = if random.one_in(4) { "unless" } else { "when" };
    format!("\n  {keyword} {{ {} }}", condition(random, 2))
}

fn condition(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(3) {
        return leaf(random);
    }
    let (a, b) = (condition(random, depth - 1), condition(random, depth - 1));
    match random.below(5) {
        0 => format!("({a} && {b})"),
        1 => format!("({a} || {b})"),
        2 => format!("!({a})"),
        3 => format!("(if {a} then {b} else {})", leaf(random)),
        _ => a,
    }
}

fn leaf(random: &mut Random) -> String {
    let who = random.pick(&["principal", "resource"]);
    let of = |name: &str, rest: String| format!("({who} has {name} && {who}.{name}{rest})");
    let compare = random.pick(&["<", "<=", ">", ">=", "==", "!="]);
    let (group, number) = (random.below(GROUPS), random.below(4));
    match random.below(46) {
        0 => format!("context.path == \"{}\"", random.pick(&["/", "/a", "/admin"])),
        1 => format!("context.path like \"{}\"", random.pick(&["/a*", "*b", "/*/*", "/a\\*"])),
        2 => format!("context has route && context.route {} \"/r\"", random.pick(&["==", "!="])),
        3 => "context.is_mtls".to_owned(),
        4 => format!(
            "[\"GET\", \"BREW\"].contains(context.method) && action {} Action::\"GET\"",
            random.pick(&["==", "!="])
        ),
        5 => format!("{who} in Group::\"g{group}\""),
        6 => format!("{who} in [Group::\"g{group}\", Group::\"g{number}\"]"),
        7 => format!("{who} is Service in Namespace::\"{}\"", random.pick(NAMESPACES)),
        8 => "principal == resource".to_owned(),
        9 => of("weight", format!(" {compare} {number}")),
        10 => of("weight", format!(" * 2 - {number} {compare} {number}")),
        // Overflows for some services, so that the policy fails.
        11 => format!("({who} has huge && {who} has weight && {who}.huge + {who}.weight > {number})"),
        12 => of("tier", format!(" {} \"free\"", random.pick(&["==", "!="]))),
        13 => of("tags", format!(".contains(\"{}\")", random.pick(&["x", "y", "q"]))),
        14 => of("tags", ".containsAll([\"x\", \"y\"])".to_owned()),
        15 => of("tags", ".containsAny([\"z\", \"q\"])".to_owned()),
        16 => of("tags", ".isEmpty()".to_owned()),
        17 => {
            let compare = random.pick(&["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]);
            of("price", format!(".{compare}(decimal(\"1.25\"))"))
        }
        18 => of("since", format!(" {} datetime(\"2026-06-01\")", random.pick(&["<", ">=", "=="]))),
        19 => of("since", format!(".offset(duration(\"{number}d\")).toDate() < datetime(\"2026-06-02\")")),
        20 => of("since", ".toTime() > duration(\"9h\")".to_owned()),
        21 => of("age", format!(" {} duration(\"90m\")", random.pick(&["<", ">="]))),
        22 => format!("({who} has net && context has source_address && context.source_address.isInRange({who}.net))"),
        23 => format!(
            "(context has source_address && context.source_address.{}())",
            random.pick(&["isLoopback", "isIpv4", "isIpv6", "isMulticast"])
        ),
        24 => of("owner", format!(" == User::\"{}\"", random.pick(USERS))),
        25 => of("owner", format!(" in Group::\"g{group}\"")),
        26 => format!("({who} has owner && {who}.owner has age && {who}.owner.age {compare} 40)"),
        27 => format!("({who} has meta && {who}.meta has level && {who}.meta.level {compare} {number})"),
        28 => format!("(context has user && context.user in Group::\"g{group}\")"),
        29 => format!("(context has user && context.user has age && context.user.age {compare} 40)"),
        30 => "(context.headers has \"x-a\" && context.headers[\"x-a\"] == \"1\")".to_owned(),
        31 => format!("({who}.signals has p99_ms && {who}.signals.p99_ms {compare} {})", number * 50),
        33 => format!("({who} has weight && -{who}.weight {compare} -{number})"),
        34 => of("since", format!(".durationSince(datetime(\"2026-05-15\")).toDays() {compare} {number}")),
        35 => of("age", format!(".{}() {compare} {number}", random.pick(&["toHours", "toMinutes", "toSeconds"]))),
        36 => format!("({who} has weight && [{number}, 2].contains({who}.weight))"),
        37 => format!("[{number}, 1, 2].containsAll([1, {}])", random.below(4)),
        38 => format!(
            "(context has source_address && context.source_address.isInRange(ip(\"{}\")))",
            random.pick(&["10.0.0.0/8", "::/0"])
        ),
        39 => format!("({who} has meta.level && {who}.meta.level {compare} {number})"),
        40 => {
            format!("(context has user && {who} has owner && context.user {} {who}.owner)", random.pick(&["==", "!="]))
        }
        41 => "principal is Anonymous".to_owned(),
        42 => format!("Service::\"{}\" in Group::\"g{group}\"", random.pick(SERVICES)),
        43 => format!("{{ level: {number}, name: context.path }}.level {compare} 2"),
        44 => of("price", " == decimal(\"2.0\")".to_owned()),
        32 => format!("Service::\"{}\".signals has p99_ms", random.pick(&SERVICES[..5])),
        _ => format!(
            "context.time {} datetime(\"2026-06-0{}T12:00:00Z\")",
            random.pick(&["<", ">="]),
            1 + random.below(3)
        ),
    }
}
