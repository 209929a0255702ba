use proptest::prelude::*;
use proptest::sample::select;
use tollgate_policies::tools::{Combination, RequestFacts, suggest};

fn seen(source: &str, destination: &str, method: &str, route: &str, path: &str) -> Combination {
    Combination {
        facts: RequestFacts {
            source: source.to_owned(),
            destination: destination.to_owned(),
            method: method.to_owned(),
            route: route.to_owned(),
            path: path.to_owned(),
            ..RequestFacts::default()
        },
        requests: 3,
        ..Combination::default()
    }
}

#[test]
fn suggests_one_policy_for_what_is_used_alike() {
    let mut combinations = vec![
        seen("shop/storefront", "shop/catalog", "GET", "/items/{id}", "/items/1"),
        seen("shop/storefront", "shop/catalog", "GET", "/items", "/items"),
        seen("shop/storefront", "shop/catalog", "POST", "/orders", "/orders"),
        seen("shop/catalog", "shop/payments", "POST", "", "/pay/1234"),
        seen("shop/catalog", "shop/payments", "POST", "", "/pay/77*"),
        seen("", "shop/storefront", "GET", "", "/"),
        seen("", "shop/storefront", "BREW", "", "/"),
        seen("odd", "shop/storefront", "GET", "", "/"),
    ];
    combinations.extend(
        (0..30).map(|n| seen("jobs/reindex", "shop/search", "GET", "", &format!("/q/{}", char::from(b'a' + n)))),
    );
    let suggestion = suggest(&combinations, None).unwrap();
    insta::assert_snapshot!(suggestion.text);
    assert_eq!((suggestion.policies, suggestion.proof.unchanged), (5, 37 * 3));
    assert!(suggestion.left_out.contains("odd"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 2_000 }))]

    /// An error would be a request that the suggested policies deny.
    #[test]
    fn whatever_was_seen_is_permitted(
        requests in proptest::collection::vec(
            (select(&["", "a/b", "c/d\"", "c/d'", "e/\u{e9}"][..]), select(&["x/y", "x/z"][..]), select(&["GET", "PUT", "BREW"][..]), select(&["", "", "/r", "/{*}"][..]),
             prop_oneof![any::<String>(), "(/[a-c0-9*]{0,3}){0,4}"]),
            0..40,
        ),
    ) {
        let combinations: Vec<_> = requests.iter().map(|(source, destination, method, route, path)| seen(source, destination, method, route, path)).collect();
        let suggestion = suggest(&combinations, None);
        prop_assert!(suggestion.is_ok(), "{:?}", suggestion);
    }
}

#[test]
fn nothing_seen_is_nothing_suggested() {
    assert_eq!(suggest(&[], None).unwrap().text, "");
}
