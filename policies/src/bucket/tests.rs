use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn share(rate: u64, burst: u64) -> Share {
    Share { limit_rate: rate * MICROTOKENS, limit_burst: burst * MICROTOKENS, safe_ppm: 1_000_000, lease: None }
}

fn takes(bucket: &Bucket, now_ns: u64) -> bool {
    matches!(bucket.take(MICROTOKENS, 0, now_ns), Some(Take::Taken { wait_ns: 0, .. }))
}

#[test]
fn gives_its_burst_then_its_rate() {
    let bucket = Bucket::new(share(10, 3), 0);
    assert_eq!((0..5).filter(|_| takes(&bucket, 0)).count(), 3);
    assert_eq!(
        bucket.take(MICROTOKENS, 0, 0),
        Some(Take::Refused { retry_ns: SECOND / 10, left: 0 }),
        "says when a token will be there"
    );
    assert!(!takes(&bucket, SECOND / 10 - 1));
    assert!(takes(&bucket, SECOND / 10));
    assert_eq!((0..9).filter(|_| takes(&bucket, 100 * SECOND)).count(), 3, "never holds more than its burst");
}

#[test]
fn reserves_what_is_not_there_yet() {
    let bucket = Bucket::new(share(10, 1), 0);
    let queue = 250_000_000;
    let wait = |bucket: &Bucket| match bucket.take(MICROTOKENS, queue, 0) {
        Some(Take::Taken { wait_ns, .. }) => Some(wait_ns),
        _ => None,
    };
    assert_eq!(wait(&bucket), Some(0));
    assert_eq!(wait(&bucket), Some(100_000_000));
    assert_eq!(wait(&bucket), Some(200_000_000));
    assert_eq!(wait(&bucket), None);
    bucket.give_back(MICROTOKENS, 0);
    assert_eq!(wait(&bucket), Some(200_000_000));
}

#[test]
fn lets_a_dear_request_pass_when_full_and_makes_it_pay() {
    let bucket = Bucket::new(share(1, 2), 0);
    assert!(matches!(bucket.take(5 * MICROTOKENS, 0, 0), Some(Take::Taken { .. })));
    assert!(!takes(&bucket, 3 * SECOND));
    assert!(takes(&bucket, 4 * SECOND));
}

#[test]
fn falls_back_to_its_safe_share_when_the_lease_ends() {
    let lease = Lease { rate: 90 * MICROTOKENS, burst: 9 * MICROTOKENS, expires_ms: 1_000 };
    let bucket = Bucket::new(Share { safe_ppm: 100_000, lease: Some(lease), ..share(100, 10) }, 0);
    assert_eq!((0..20).filter(|_| takes(&bucket, 0)).count(), 10);
    assert_eq!((0..200).filter(|_| takes(&bucket, SECOND / 10)).count(), 10, "lease and safe share: 100/s");
    assert_eq!((0..200).filter(|_| takes(&bucket, 2 * SECOND)).count(), 1, "one token is left of the burst");
    assert_eq!((0..200).filter(|_| takes(&bucket, 2 * SECOND + SECOND / 10)).count(), 1, "safe share: 10/s");
}

#[test]
fn brings_the_burst_of_its_first_lease_and_no_other() {
    let bucket = Bucket::new(Share { safe_ppm: 0, ..share(10, 10) }, 0);
    assert_eq!((0..20).filter(|_| takes(&bucket, 0)).count(), 1);
    let lease = |burst| Some(Lease { rate: 0, burst: burst * MICROTOKENS, expires_ms: u64::MAX / SECOND });
    bucket.change(0, |share| share.lease = lease(10));
    assert_eq!((0..20).filter(|_| takes(&bucket, 0)).count(), 9);
    for _ in 0..3 {
        bucket.change(0, |share| share.lease = None);
        bucket.change(0, |share| share.lease = lease(10));
    }
    assert_eq!((0..20).filter(|_| takes(&bucket, 0)).count(), 0);
}

#[test]
fn still_refills_after_a_year_at_the_largest_rate() {
    let bucket = Bucket::new(share(1_000_000_000, 1), 0);
    let year = 365 * 86_400 * SECOND;
    for now in [0, year, 2 * year, 2 * year + SECOND] {
        assert!(takes(&bucket, now), "at {now}");
    }
}

#[test]
fn a_forgotten_bucket_gives_nothing() {
    let bucket = Arc::new(Bucket::new(share(1, 1), 0));
    let place = bucket.occupy(1);
    assert!(matches!(place, Some(Ok(_))));
    assert!(!bucket.forget(0), "a request is under way");
    drop(place);
    assert!(bucket.forget(0));
    assert_eq!(bucket.take(MICROTOKENS, 0, 0), None);
    assert!(bucket.occupy(1).is_none());
}

#[test]
fn is_not_idle_before_the_limit_would_have_brought_its_largest_burst_again() {
    let lease = Lease { rate: 9 * MICROTOKENS, burst: 9 * MICROTOKENS, expires_ms: u64::MAX / SECOND };
    let bucket = Bucket::new(Share { safe_ppm: 100_000, lease: Some(lease), ..share(10, 10) }, 0);
    assert_eq!((0..20).filter(|_| takes(&bucket, 0)).count(), 10);
    bucket.change(SECOND / 10, |share| share.lease = None);
    bucket.take_wanted();
    assert!(!bucket.forget_if_idle(SECOND / 2), "full with one token, while four of its burst are still owed");
    assert!(bucket.forget_if_idle(SECOND));
}

#[test]
fn is_not_forgotten_as_idle_when_it_was_used_meanwhile() {
    let bucket = Arc::new(Bucket::new(share(1, 2), 0));
    assert!(takes(&bucket, 0));
    bucket.take_wanted();
    assert!(!bucket.forget_if_idle(0), "not full");
    assert!(takes(&bucket, 0), "and goes on with what was left");
    assert!(!takes(&bucket, 0));
    assert!(!bucket.forget_if_idle(2 * SECOND), "what was wanted is still to be told");
    bucket.take_wanted();
    let place = bucket.occupy(1);
    assert!(!bucket.forget_if_idle(2 * SECOND), "a request is under way");
    assert_eq!((0..5).filter(|_| takes(&bucket, 2 * SECOND)).count(), 2, "still full");
    drop(place);
    bucket.take_wanted();
    assert!(bucket.forget_if_idle(4 * SECOND));
    assert!(bucket.is_forgotten());
}

/// Without a rate it is full only as long as nobody has taken: either it is forgotten or it has given, never both.
#[test]
fn is_never_both_spent_from_and_forgotten_as_idle() {
    for _ in 0..5_000 {
        let bucket = Arc::new(Bucket::new(share(0, 1), 0));
        let other = Arc::clone(&bucket);
        let start = Arc::new(std::sync::Barrier::new(2));
        let started = Arc::clone(&start);
        let taking = std::thread::spawn(move || {
            started.wait();
            other.take(MICROTOKENS, 0, 0)
        });
        start.wait();
        let is_forgotten = bucket.forget_if_idle(0);
        let taken = taking.join().unwrap();
        assert_eq!(taken.is_none(), is_forgotten, "{taken:?}");
    }
}

#[test]
fn threads_together_take_no_more_than_there_is() {
    let bucket = Arc::new(Bucket::new(share(0, 1_000), 0));
    let threads = (0..4).map(|thread| {
        let bucket = Arc::clone(&bucket);
        std::thread::spawn(move || {
            let mut taken = 0;
            for round in 0..2_000 {
                taken += usize::from(takes(&bucket, 0));
                if round % 50 == 0 {
                    bucket.change(0, |share| share.safe_ppm = 1_000_000 - (round + thread) % 2);
                }
            }
            taken
        })
    });
    let taken: usize = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!((990..=1_000).contains(&taken), "{taken} taken");
}

#[derive(Debug, Clone)]
enum Step {
    Take { cost: u64, queue_ms: u64, is_given_back: bool },
    Share { safe_ppm: u32, lease: Option<(u64, u64, u64)> },
    Wait { us: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..3_000_000_u64, prop_oneof![Just(0), 0..500_u64], any::<bool>())
            .prop_map(|(cost, queue_ms, given)| Step::Take { cost, queue_ms, is_given_back: given && queue_ms == 0 }),
        2 => (0..=1_000_000_u32, proptest::option::of((0..2_000_u64, 0..100_u64, 0..3_000_u64)))
            .prop_map(|(safe_ppm, lease)| Step::Share { safe_ppm, lease }),
        3 => (0..2_000_000_u64).prop_map(|us| Step::Wait { us }),
    ]
}

proptest! {
    /// Whatever is taken, given back and changed in between: never more than what the rates produced and one largest burst,
    /// plus what may be owed, which is the dearest request or the longest queue.
    #[test]
    fn never_gives_more_than_rates_and_one_burst(
        rate in 1..1_000_u64, burst in 1..50_u64, steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut share = Share { safe_ppm: 500_000, ..share(rate, burst) };
        let bucket = Bucket::new(share, 0);
        let (mut now_ns, mut taken, mut produced) = (0_u64, 0_u128, 0_u128);
        let (mut burst_max, mut owed_max) = (share.at(0).1, 0);
        for step in steps {
            match step {
                Step::Take { cost, queue_ms, is_given_back } => {
                    owed_max = owed_max.max(u128::from(cost) + u128::from(share.at(now_ns).0) * u128::from(queue_ms) / 1_000);
                    if let Some(Take::Taken { .. }) = bucket.take(cost, queue_ms * 1_000_000, now_ns) {
                        if is_given_back { bucket.give_back(cost, now_ns) } else { taken += u128::from(cost) }
                    }
                }
                Step::Share { safe_ppm, lease } => {
                    let now_ms = now_ns / 1_000_000;
                    let lease = lease.map(|(rate, burst, ttl_ms)| Lease {
                        rate: rate * MICROTOKENS, burst: burst * MICROTOKENS, expires_ms: now_ms + ttl_ms,
                    });
                    bucket.change(now_ns, |share| (share.safe_ppm, share.lease) = (safe_ppm, lease));
                    (share.safe_ppm, share.lease) = (safe_ppm, lease);
                }
                Step::Wait { us } => {
                    // In pieces that end where the lease does, as the rate changes there.
                    let until = now_ns + us * 1_000;
                    let lease_end = share.lease.map(|lease| lease.expires_ms * 1_000_000).filter(|end| (now_ns..until).contains(end));
                    for end in lease_end.into_iter().chain([until]) {
                        produced += u128::from(share.at(now_ns).0) * u128::from(end - now_ns);
                        now_ns = end;
                    }
                }
            }
            burst_max = burst_max.max(share.at(now_ns).1);
            let allowed = produced.div_ceil(u128::from(SECOND)) + u128::from(burst_max) + owed_max;
            prop_assert!(taken <= allowed, "{taken} taken of {allowed}");
        }
    }
}
