//! What has changed between two states of the signals.

use std::cmp::Ordering;
use std::sync::Arc;

use tollgate_api::v1;

use crate::signals::{SignalState, to_proto};

/// The entities whose signals differ. One that has none any more is in it with none.
pub(super) fn signals(before: &Arc<SignalState>, now: &Arc<SignalState>) -> Vec<v1::EntitySignals> {
    if Arc::ptr_eq(before, now) {
        return Vec::new();
    }
    let mut changed = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old_key, _)), Some((new_key, _))) => old_key.cmp(new_key),
        };
        match order {
            Ordering::Less => changed.extend(old.next().map(|(key, _)| to_proto(key, None))),
            Ordering::Greater => changed.extend(new.next().map(|(key, values)| to_proto(key, Some(values)))),
            Ordering::Equal => {
                let pair = old.next().zip(new.next());
                // Values that have not changed are shared between states, so that this is a comparison of pointers.
                let differing = pair.filter(|((_, was), (_, is))| !Arc::ptr_eq(was, is) && was != is);
                changed.extend(differing.map(|(_, (key, values))| to_proto(key, Some(values))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::signals::Value;

    fn state(entries: &[(&str, i64)]) -> Arc<SignalState> {
        let entry = |(id, value): &(&str, i64)| {
            let values = BTreeMap::from([(Arc::from("p99_ms"), Value::Integer(*value))]);
            ((Arc::from("Service"), Arc::from(*id)), Arc::new(values))
        };
        Arc::new(entries.iter().map(entry).collect())
    }

    #[test]
    fn names_what_came_went_and_changed() {
        let changed = signals(&state(&[("a", 1), ("b", 2), ("c", 3)]), &state(&[("b", 2), ("c", 4), ("d", 5)]));
        let summary: Vec<_> = changed.iter().map(|entity| (entity.entity_id.as_str(), entity.signals.len())).collect();
        assert_eq!(summary, [("a", 0), ("c", 1), ("d", 1)]);
        assert!(signals(&state(&[("a", 1)]), &state(&[("a", 1)])).is_empty());
    }
}
