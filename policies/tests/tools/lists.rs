use std::net::IpAddr;

use proptest::prelude::*;
use tollgate_policies::Facts;
use tollgate_policies::lists::{Declaration, Keeper, Kind, List, Lists, Outcome};

use crate::support::{file, json};

fn declared(text: &str) -> Declaration {
    Declaration::read(&file("lists/bad.yaml", text)).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn refuses_declarations_that_make_no_sense() {
    let all = [
        "kind: cidr\nfile: bad.txt\n",
        "kind: cdir\nfile: bad.txt\n",
        "kind: cidr\nof: user\nfile: bad.txt\n",
        "kind: exact\nfile: bad.txt\n",
        "kind: exact\nof: usr\nfile: bad.txt\n",
        "kind: exact\nof: headers.X-A\nfile: bad.txt\n",
        "kind: exact\nof: user\n",
        "kind: exact\nof: user\nfile: a\nurl: https://b\n",
        "kind: exact\nof: user\nfile: ../../etc/passwd\n",
        "kind: exact\nof: user\nfile: /etc/passwd\n",
        "kind: exact\nof: user\nurl: file:///etc/passwd\n",
        "kind: exact\nof: user\nfile: a\nrefresh: often\n",
        "name: a b\nkind: cidr\nfile: a\n",
        "kind: cidr\nfile: a\nrefersh: 5m\n",
    ];
    let said = all.map(|text| match Declaration::read(&file("lists/bad.yaml", text)) {
        Ok(declaration) => format!("{} {:?}", declaration.name, declaration.refresh),
        Err(problem) => problem.to_string(),
    });
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn finds_addresses_and_names() {
    let networks =
        List::read(Kind::Cidr, b"# head\n10.0.0.0/8 # all of it\n192.0.2.1\n10.1.0.0/16\n2001:db8::/32\n").unwrap();
    let has = |address: &str| networks.has_address(address.parse().unwrap());
    assert!(has("10.255.0.1") && has("192.0.2.1") && has("2001:db8::9") && has("::ffff:10.0.0.1"));
    assert!(!has("11.0.0.0") && !has("192.0.2.2") && !has("2001:db9::") && !has("::"));
    let prefixes = List::read(Kind::Prefix, b"/admin\n/admin/x\n/b\n").unwrap();
    assert!(
        prefixes.has_text("/admin/x/y")
            && prefixes.has_text("/b")
            && !prefixes.has_text("/a")
            && !prefixes.has_text("")
    );
    let exact = List::read(Kind::Exact, b"ann\nbo b\n").unwrap();
    assert!(exact.has_text("bo b") && !exact.has_text("an") && !exact.has_text("ann "));
}

#[test]
fn refuses_entries_that_are_none_and_too_many() {
    let wrong = |kind, text: &[u8]| List::read(kind, text).unwrap_err().to_string();
    assert_eq!(wrong(Kind::Cidr, b"10.0.0.0/8\n<html>"), "line 2: `<html>` is neither an address nor a network");
    assert!(wrong(Kind::Cidr, b"\n# nothing\n").starts_with("there is no entry"));
    assert_eq!(wrong(Kind::Exact, &[0xff, b'a']), "not UTF-8 text");
    assert!(wrong(Kind::Exact, "x".repeat(2_000).as_bytes()).contains("longer than 1024 bytes"));
    assert!(wrong(Kind::Exact, "x\n".repeat(1_000_001).as_bytes()).contains("1000001 entries"));
    assert!(List::read(Kind::Cidr, b"# empty\n").unwrap().is_empty());
}

#[test]
fn keeps_the_last_good_list_when_the_source_fails() {
    let mut keeper = Keeper::default();
    keeper.declare(vec![declared("kind: cidr\nurl: https://lists.example/bad\nrefresh: 1m\n")], 0);
    let facts = |address: &str| Facts { source_address: Some(address.parse::<IpAddr>().unwrap()), ..Facts::default() };
    let on = |keeper: &Keeper, address: &str| {
        let pushed: Vec<_> = keeper.lists().collect();
        let lists = Lists::default().with(&pushed, true).unwrap();
        lists.on(&facts(address)).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(keeper.due(0).count(), 1);
    assert_eq!(keeper.fetched("bad", Err("connection refused".to_owned()), 0), Outcome::Failed);
    assert!(on(&keeper, "10.0.0.1").is_empty());
    assert_eq!((keeper.due(999).count(), keeper.due(1_000).count()), (0, 1), "tried again soon");
    assert_eq!(keeper.fetched("bad", Ok(b"10.0.0.0/8\n"), 1_000), Outcome::Changed);
    assert_eq!(on(&keeper, "10.0.0.1"), ["bad"]);
    assert_eq!((keeper.due(60_999).count(), keeper.due(61_000).count()), (0, 1));
    assert_eq!(keeper.fetched("bad", Ok(b"<html>busy</html>"), 61_000), Outcome::Failed);
    assert_eq!(on(&keeper, "10.0.0.1"), ["bad"], "the last good one holds");
    insta::assert_snapshot!(json(&keeper.states(63_000).map(|(_, state)| state).collect::<Vec<_>>()));
    for retry in 0..40 {
        keeper.fetched("bad", Err("gone".to_owned()), 61_000 + retry);
    }
    assert!(keeper.next_due_ms(|_| false).unwrap() <= 61_040 + 60_000, "never later than its own rhythm");
    assert_eq!(keeper.fetched("bad", Ok(b"10.0.0.0/9\n10.128.0.0/9\n"), 130_000), Outcome::Changed);
    keeper.declare(vec![declared("kind: cidr\nurl: https://lists.example/bad\nrefresh: 1m\n")], 131_000);
    assert_eq!(on(&keeper, "10.0.0.1"), ["bad"], "declared as before");
    keeper.declare(vec![declared("kind: cidr\nurl: https://lists.example/bad\nrefresh: 5m\n")], 131_500);
    assert_eq!(
        (on(&keeper, "10.0.0.1"), keeper.due(131_500).count()),
        (vec!["bad".to_owned()], 1),
        "in another rhythm"
    );
    assert_eq!(keeper.unchanged("bad", 131_600), Outcome::Unchanged);
    assert_eq!((keeper.due(431_599).count(), keeper.due(431_600).count()), (0, 1));
    keeper.restore("bad", b"192.0.2.1\n", 0);
    assert_eq!(on(&keeper, "10.0.0.1"), ["bad"], "what was kept of an earlier run is older");
    keeper.declare(vec![declared("kind: cidr\nfile: bad.txt\n")], 132_000);
    assert!(on(&keeper, "10.0.0.1").is_empty(), "another source is another list");
    assert_eq!(keeper.unchanged("bad", 132_000), Outcome::Failed, "nothing is held that it could be");
    keeper.restore("bad", b"<html>", 0);
    keeper.restore("bad", b"10.0.0.1\n", 0);
    assert_eq!((on(&keeper, "10.0.0.1"), keeper.due(133_000).count()), (vec!["bad".to_owned()], 1), "and still due");
}

proptest! {
    #[test]
    fn finds_what_a_walk_over_all_entries_finds(
        networks in proptest::collection::vec((any::<[u8; 2]>(), 8_u8..=32), 0..20),
        prefixes in proptest::collection::vec("[ab]{1,4}", 1..20),
        address in any::<[u8; 2]>(), text in "[ab]{0,6}",
    ) {
        let address: IpAddr = [10, address[0] % 4, address[1], 7].into();
        let networks: Vec<ipnet::IpNet> = networks.iter()
            .map(|([a, b], length)| ipnet::IpNet::new([10, a % 4, *b, 0].into(), *length).unwrap()).collect();
        let lines: String = networks.iter().map(|network| format!("{network}\n")).chain(["# empty\n".to_owned()]).collect();
        let list = List::read(Kind::Cidr, lines.as_bytes()).unwrap();
        prop_assert_eq!(list.has_address(address), networks.iter().any(|network| network.contains(&address)));
        let list = List::read(Kind::Prefix, prefixes.join("\n").as_bytes()).unwrap();
        prop_assert_eq!(list.has_text(&text), prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())));
    }

    #[test]
    fn any_bytes_are_a_list_or_refused(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        let _ = List::read(Kind::Cidr, &bytes);
        let _ = List::read(Kind::Prefix, &bytes);
        let _ = Declaration::read(&file("lists/x.yaml", &text));
    }
}
