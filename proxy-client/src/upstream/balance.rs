//! Least requests of two random choices.

/// Index of the less loaded of two random eligible items; `load` is `None` for one that is not eligible.
pub(super) fn least_of_two<T>(items: &[T], load: impl Fn(&T) -> Option<usize>) -> Option<usize> {
    let eligible = items.iter().filter(|item| load(item).is_some()).count();
    if eligible == 0 {
        return None;
    }
    let first = fastrand::usize(..eligible);
    // The second choice is another one where there is one.
    let second = (first + fastrand::usize(1..eligible.max(2))) % eligible;
    let loads = items.iter().enumerate().filter_map(|(index, item)| Some((index, load(item)?)));
    let mut chosen: Option<(usize, usize)> = None;
    for (nth, (index, load)) in loads.enumerate() {
        if (nth == first || nth == second) && chosen.is_none_or(|(_, least)| load < least) {
            chosen = Some((index, load));
        }
    }
    chosen.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        assert_eq!(least_of_two(&[5, 1], |load| Some(*load)), Some(1));
        assert_eq!(least_of_two(&[5], |load| Some(*load)), Some(0));
        assert_eq!(least_of_two(&[] as &[usize], |load| Some(*load)), None);
    }

    #[test]
    fn the_most_loaded_of_many_is_never_taken_and_others_are() {
        let loads = [0, 9, 0, 0];
        let taken: Vec<_> = (0..200).filter_map(|_| least_of_two(&loads, |load| Some(*load))).collect();
        assert!(!taken.contains(&1) && [0, 2, 3].iter().all(|index| taken.contains(index)));
    }

    proptest! {
        #[test]
        fn only_eligible_ones_are_taken(loads in prop::collection::vec(prop::option::of(0usize..5), 0..8)) {
            match least_of_two(&loads, |load| *load) {
                Some(index) => prop_assert!(loads[index].is_some()),
                None => prop_assert!(loads.iter().all(Option::is_none)),
            }
        }
    }
}
