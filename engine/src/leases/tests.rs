//! The allocator as a whole, message by message.

use std::sync::Arc;

use tollgate_api::v1;

use super::{BucketLimit, Changes, Hello, LeaseConfig, Leases, Member, StreamId};

const RATE: u64 = 100_000_000;
/// Default ttl and margin.
const HELD_MS: u64 = 10_000 + 150;

fn limits(rate: u64) -> Vec<BucketLimit> {
    vec![BucketLimit { policy: Arc::from("p"), scope: Arc::from("shop/a"), rate, burst: 2 * rate }]
}

fn start(known: Option<Vec<Member>>) -> Leases {
    let mut leases = Leases::new(LeaseConfig::default(), 0, known);
    leases.set_limits(&limits(RATE), 0);
    leases
}

fn services() -> Vec<String> {
    vec![String::from("shop/a")]
}

fn join_as(leases: &mut Leases, reporter: &str, epoch: u64, version: u64, held: &[v1::Lease], now_ms: u64) -> StreamId {
    let services = services();
    let hello = Hello {
        reporter,
        epoch,
        services: &services,
        held,
        safe_shares: &[],
        acknowledged_version: version,
        sent_ms: now_ms,
    };
    leases.join(&hello, now_ms).unwrap()
}

fn join(leases: &mut Leases, reporter: &str, now_ms: u64) -> StreamId {
    join_as(leases, reporter, 1, 0, &[], now_ms)
}

fn push(leases: &mut Leases, stream: StreamId, version: u64, now_ms: u64) -> Changes {
    leases.tick(now_ms);
    leases.changes(stream, version, now_ms)
}

fn want(leases: &mut Leases, stream: StreamId, key: &str, now_ms: u64) {
    let bucket = Some(v1::Bucket { policy: String::from("p"), key: String::from(key) });
    leases.demand(stream, &v1::Demand { bucket, wanted: RATE, interval_ms: 1_000 }, now_ms);
}

fn lease(rate: u64, ttl_ms: u64) -> v1::Lease {
    let bucket = Some(v1::Bucket { policy: String::from("p"), key: String::new() });
    v1::Lease { bucket, rate, burst: 0, ttl_ms }
}

fn ppm(changes: &Changes) -> Option<u32> {
    changes.safe_shares.iter().find(|share| share.scope == "shop/a").map(|share| share.parts_per_million)
}

fn rate(changes: &Changes) -> Option<u64> {
    changes.leases.first().map(|lease| lease.rate)
}

/// Two reporters that have acknowledged everything, the first of them busy and holding all that can be leased.
fn two() -> (Leases, StreamId, StreamId) {
    let mut leases = start(None);
    let a = join(&mut leases, "a", 0);
    let b = join(&mut leases, "b", 0);
    for now_ms in [0, 100, 200] {
        want(&mut leases, a, "", now_ms);
        for stream in [a, b] {
            push(&mut leases, stream, now_ms + 1, now_ms);
            leases.heard(stream, now_ms, now_ms + 1, now_ms);
        }
    }
    assert_eq!(leases.rows(200)[0].rate, RATE / 10 * 9);
    (leases, a, b)
}

#[test]
fn a_lone_reporter_has_everything_without_a_lease() {
    let mut leases = start(None);
    let a = join(&mut leases, "a", 0);
    want(&mut leases, a, "", 0);
    let changes = push(&mut leases, a, 1, 0);
    assert_eq!(ppm(&changes), Some(1_000_000));
    assert_eq!(changes.leases, []);
    assert!(!leases.has_changes(a, 0));
}

#[test]
fn a_second_reporter_waits_for_the_first_to_acknowledge_less() {
    let mut leases = start(None);
    let a = join(&mut leases, "a", 0);
    push(&mut leases, a, 1, 0);
    let b = join(&mut leases, "b", 0);
    assert_eq!(ppm(&push(&mut leases, b, 2, 0)), None);
    assert_eq!(ppm(&push(&mut leases, a, 3, 0)), Some(50_000));
    leases.heard(a, 10, 1, 10);
    assert_eq!(ppm(&push(&mut leases, b, 4, 10)), None);
    leases.heard(a, 20, 3, 20);
    assert_eq!(ppm(&push(&mut leases, b, 5, 20)), Some(50_000));
}

#[test]
fn a_lease_moves_only_when_its_holder_has_acknowledged_less() {
    let (mut leases, a, b) = two();
    want(&mut leases, b, "", 300);
    leases.heard(b, 300, 201, 300);
    assert_eq!(rate(&push(&mut leases, b, 302, 300)), None);
    let lowered = rate(&push(&mut leases, a, 303, 300)).unwrap();
    assert_eq!(rate(&push(&mut leases, b, 304, 310)), None);
    leases.heard(a, 320, 303, 320);
    assert_eq!(rate(&push(&mut leases, b, 305, 320)), Some(RATE / 10 * 9 - lowered));
}

#[test]
fn a_lease_that_is_never_acknowledged_is_free_after_it_ran_out() {
    let (mut leases, a, b) = two();
    leases.disconnected(a, 200);
    let mut got = 0;
    let mut version = 300;
    for now_ms in (300..HELD_MS + 400).step_by(100) {
        want(&mut leases, b, "", now_ms);
        leases.heard(b, now_ms, version, now_ms);
        version += 1;
        if let Some(rate) = rate(&push(&mut leases, b, version, now_ms)) {
            assert!(rate == 0 || now_ms >= HELD_MS, "{rate} given at {now_ms}");
            got = rate;
        }
    }
    assert_eq!(got, RATE / 10 * 9);
}

#[test]
fn a_lease_is_renewed_from_half_its_time_on_if_the_reporter_is_heard() {
    let (mut leases, a, _) = two();
    let renewed_at = |leases: &mut Leases, is_heard: bool| {
        (300..9_000).step_by(100).find(|&now_ms| {
            if is_heard {
                leases.heard(a, now_ms, 201, now_ms);
            }
            rate(&push(leases, a, now_ms, now_ms)).is_some()
        })
    };
    assert_eq!(renewed_at(&mut leases, false), None);
    let (mut leases, _, _) = two();
    let at = renewed_at(&mut leases, true).unwrap();
    assert!((3_000..=5_500).contains(&at), "{at}");
}

#[test]
fn bursts_are_in_proportion() {
    let mut leases = start(None);
    let (a, b) = (join(&mut leases, "a", 0), join(&mut leases, "b", 0));
    push(&mut leases, a, 1, 0);
    push(&mut leases, b, 2, 0);
    want(&mut leases, a, "", 0);
    let changes = push(&mut leases, a, 3, 0);
    assert_eq!(changes.leases[0].burst, 2 * changes.leases[0].rate);
}

#[test]
fn a_new_process_does_not_inherit_the_leases_of_the_old() {
    let (mut leases, a, _) = two();
    leases.disconnected(a, 300);
    let a = join_as(&mut leases, "a", 2, 0, &[], 300);
    want(&mut leases, a, "", 300);
    let changes = push(&mut leases, a, 301, 300);
    assert_eq!(ppm(&changes), Some(50_000), "the safe share is its at once");
    assert_eq!(rate(&changes), None);
    leases.heard(a, 400, 301, 400);
    want(&mut leases, a, "", 200 + HELD_MS);
    leases.heard(a, 400, 301, 200 + HELD_MS);
    assert_eq!(rate(&push(&mut leases, a, 302, 200 + HELD_MS)), Some(RATE / 10 * 9));
}

#[test]
fn the_safe_share_of_a_process_replaced_while_connected_stays_reserved() {
    let mut leases = start(None);
    let a = join(&mut leases, "a", 0);
    assert_eq!(ppm(&push(&mut leases, a, 1, 0)), Some(1_000_000));
    let a = join_as(&mut leases, "a", 2, 0, &[], 100);
    assert_eq!(ppm(&push(&mut leases, a, 2, 100)), None);
    assert_eq!(ppm(&push(&mut leases, a, 3, 100 + HELD_MS - 1)), None);
    assert_eq!(ppm(&push(&mut leases, a, 4, 200 + HELD_MS)), Some(1_000_000));
}

#[test]
fn a_stream_that_was_replaced_is_ignored() {
    let (mut leases, old, _) = two();
    let new = join_as(&mut leases, "a", 1, 201, &[lease(RATE / 10 * 9, 9_000)], 300);
    leases.disconnected(old, 310);
    leases.leave(old, 310);
    leases.heard(old, u64::MAX, 999, 310);
    assert!(!leases.has_changes(old, 310));
    assert!(leases.changes(old, 300, 310).is_empty());
    let changes = push(&mut leases, new, 301, 310);
    assert_eq!((ppm(&changes), rate(&changes), changes.echo_ms), (Some(50_000), Some(RATE / 10 * 9), 300));
}

#[test]
fn a_restarted_engine_renews_what_is_held_and_raises_nothing() {
    let (before, _, _) = two();
    let mut leases = start(Some(before.members()));
    let b = join_as(&mut leases, "b", 1, 201, &[], 100);
    want(&mut leases, b, "", 100);
    let changes = push(&mut leases, b, 1, 100);
    assert_eq!((ppm(&changes), rate(&changes)), (Some(50_000), None));
    let a = join_as(&mut leases, "a", 1, 201, &[lease(RATE / 2, 5_000)], 200);
    want(&mut leases, a, "", 200);
    let changes = push(&mut leases, a, 2, 200);
    assert_eq!((ppm(&changes), rate(&changes)), (Some(50_000), Some(RATE / 2)));
    let c = join(&mut leases, "c", 300);
    want(&mut leases, c, "", 300);
    assert!(push(&mut leases, c, 3, 300).is_empty());
    leases.heard(a, HELD_MS, 2, HELD_MS);
    leases.heard(c, HELD_MS, 3, HELD_MS);
    want(&mut leases, c, "", HELD_MS);
    assert!(rate(&push(&mut leases, c, 4, HELD_MS)).is_some());
}

#[test]
fn acknowledgements_of_an_earlier_run_of_the_engine_count_for_nothing() {
    let mut leases = start(Some(Vec::new()));
    let a = join_as(&mut leases, "a", 1, 900, &[lease(RATE, 5_000)], 0);
    let now_ms = HELD_MS + 100;
    let b = join(&mut leases, "b", now_ms - 50);
    push(&mut leases, b, 1, now_ms - 50);
    leases.heard(a, now_ms, 900, now_ms);
    push(&mut leases, a, 2, now_ms);
    leases.heard(a, now_ms, 900, now_ms);
    assert_eq!(ppm(&push(&mut leases, b, 3, now_ms)), None, "what `a` holds is not known yet");
    leases.heard(a, now_ms + 10, 2, now_ms + 10);
    assert_eq!(ppm(&push(&mut leases, b, 4, now_ms + 10)), Some(50_000));
}

#[test]
fn a_reporter_that_cannot_apply_snapshots_gets_no_more_leases() {
    let (mut leases, a, _) = two();
    let mut last = 0;
    for now_ms in (300..60_000).step_by(100) {
        want(&mut leases, a, "", now_ms);
        leases.heard(a, now_ms, 201, now_ms);
        if !push(&mut leases, a, now_ms, now_ms).is_empty() {
            last = now_ms;
        }
    }
    assert!(last < 20_000, "{last}");
    leases.heard(a, 60_000, 59_900, 60_000);
    want(&mut leases, a, "", 60_000);
    assert!(rate(&push(&mut leases, a, 60_001, 60_000)).is_some());
}

#[test]
fn a_removed_policy_is_not_leased_and_its_leases_run_out() {
    let (mut leases, a, _) = two();
    leases.set_limits(&[], 300);
    want(&mut leases, a, "", 300);
    assert!(push(&mut leases, a, 302, 300).is_empty());
    leases.tick(200 + HELD_MS);
    assert_eq!(leases.rows(200 + HELD_MS), []);
}

#[test]
fn a_forgotten_member_gives_its_share_back() {
    let mut leases = start(None);
    let a = join(&mut leases, "a", 0);
    push(&mut leases, a, 1, 0);
    leases.disconnected(a, 10);
    let b = join(&mut leases, "b", 20);
    assert_eq!(ppm(&push(&mut leases, b, 2, 20)), None);
    leases.heard(b, 30, 0, 3_600_000);
    assert_eq!(ppm(&push(&mut leases, b, 3, 3_600_101)), Some(1_000_000));
    assert_eq!(leases.members().len(), 1);
}

#[test]
fn a_full_ledger_leases_no_new_buckets_and_raises_nothing_for_what_it_cannot_count() {
    let mut leases = start(None);
    leases.entries_max = 100;
    let (a, b) = (join(&mut leases, "a", 0), join(&mut leases, "b", 0));
    push(&mut leases, a, 1, 0);
    push(&mut leases, b, 2, 0);
    for key in 0..110 {
        want(&mut leases, a, &key.to_string(), 0);
    }
    assert_eq!(leases.rows(0).len(), 100);
    let c = join_as(&mut leases, "c", 1, 1, &[lease(RATE, 5_000)], 10);
    assert_eq!(leases.rows(0).len(), 100);
    assert!(push(&mut leases, c, 3, 10).leases.is_empty());
    assert!(push(&mut leases, a, 4, 10).leases.is_empty());
}

#[test]
fn members_survive_a_restart() {
    let (leases, _, _) = two();
    let members = leases.members();
    assert_eq!(members.len(), 2);
    let shares = vec![(String::from("*"), 50_000), (String::from("shop/a"), 50_000)];
    assert!(members.iter().all(|member| member.safe_shares == shares));
    assert_eq!(start(Some(members.clone())).members(), members);
}
