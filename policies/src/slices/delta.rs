//! What makes one slice of another.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_api::v1;

use super::{Piece, Slice};

pub(super) fn between(from: &Slice, to: &Slice) -> v1::PoliciesDelta {
    let is_same = Arc::ptr_eq(&from.entities, &to.entities) || from.entities.proto == to.entities.proto;
    v1::PoliciesDelta {
        from: from.digest.clone(),
        digest: to.digest.clone(),
        access: splices(&from.pieces[..from.access], &to.pieces[..to.access]),
        shaping: splices(&from.pieces[from.access..], &to.pieces[to.access..]),
        entities: (!is_same).then(|| to.entities.proto.clone()),
        observe: to.observe,
        observed_services: to.observed_services.clone(),
        headers: to.headers.clone(),
    }
}

/// As few policies as possible are sent again: those stay that are in both lists and stand in the same order.
fn splices(from: &[Piece], to: &[Piece]) -> Vec<v1::Splice> {
    let is_same = |(a, b): &(&Piece, &Piece)| a.fingerprint == b.fingerprint;
    let head = from.iter().zip(to).take_while(is_same).count();
    let (from, to) = (&from[head..], &to[head..]);
    let tail = from.iter().rev().zip(to.iter().rev()).take_while(is_same).count();
    let (from, to) = (&from[..from.len() - tail], &to[..to.len() - tail]);
    let places: HashMap<u128, usize> =
        from.iter().enumerate().map(|(place, piece)| (piece.fingerprint, place)).collect();
    let common: Vec<_> =
        to.iter().enumerate().filter_map(|(place, piece)| Some((*places.get(&piece.fingerprint)?, place))).collect();
    let mut splices = Vec::new();
    let (mut at, mut came) = (0, 0);
    let end = (from.len(), to.len());
    for (stays, now) in longest_rising(&common).into_iter().chain([end]) {
        if stays > at || now > came {
            let added = to[came..now].iter().map(|piece| v1::Policy::clone(&piece.policy)).collect();
            splices.push(v1::Splice { at: (head + at) as u32, removed: (stays - at) as u32, added });
        }
        (at, came) = (stays + 1, now + 1);
    }
    splices
}

/// The longest subsequence of which the first members rise, by patience sorting.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The end of the best subsequence of each length, and what stands before each pair in its own.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = Vec::with_capacity(pairs.len());
    for (index, (key, _)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].0 < *key);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(index);
        } else {
            ends[length] = index;
        }
    }
    let mut found = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        found.push(pairs[index]);
        next = before[index];
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compile::PolicyKind;

    fn pieces(numbers: &[u8]) -> Vec<Piece> {
        let piece = |number: &u8| {
            let policy = Arc::new(v1::Policy { id: number.to_string(), ..v1::Policy::default() });
            Piece { fingerprint: u128::from(*number), kind: PolicyKind::Access, policy }
        };
        numbers.iter().map(piece).collect()
    }

    /// Applies splices as a reporter does, and counts what was sent.
    fn applied(from: &[u8], splices: &[v1::Splice]) -> (Vec<String>, usize) {
        let mut list: Vec<_> = from.iter().map(ToString::to_string).collect();
        for splice in splices.iter().rev() {
            let (at, removed) = (splice.at as usize, splice.removed as usize);
            list.splice(at..at + removed, splice.added.iter().map(|policy| policy.id.clone()));
        }
        (list, splices.iter().map(|splice| splice.added.len()).sum())
    }

    #[test]
    fn only_what_changes_is_sent() {
        let sent = |from: &[u8], to: &[u8]| {
            let splices = splices(&pieces(from), &pieces(to));
            let (list, sent) = applied(from, &splices);
            assert_eq!(list, to.iter().map(ToString::to_string).collect::<Vec<_>>());
            (splices.len(), sent)
        };
        assert_eq!(sent(&[1, 2, 3], &[1, 2, 3]), (0, 0));
        assert_eq!(sent(&[1, 2, 3], &[1, 9, 3]), (1, 1));
        assert_eq!(sent(&[1, 2, 3, 4], &[0, 1, 3, 4, 5]), (3, 2));
        assert_eq!(sent(&[1, 2, 3, 4, 5], &[5, 1, 2, 3, 4]), (2, 1), "what moved is sent, and nothing else");
        assert_eq!(sent(&[], &[1, 2]), (1, 2));
        assert_eq!(sent(&[1, 2], &[]), (1, 0));
    }

    proptest! {
        #[test]
        fn any_list_becomes_any_other(
            from in Just((0..12_u8).collect::<Vec<_>>()).prop_shuffle(), from_end in 0..12_usize,
            to in Just((0..12_u8).collect::<Vec<_>>()).prop_shuffle(), to_end in 0..12_usize,
        ) {
            let (from, to) = (&from[..from_end], &to[..to_end]);
            let splices = splices(&pieces(from), &pieces(to));
            let (list, _) = applied(from, &splices);
            prop_assert_eq!(list, to.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
}
