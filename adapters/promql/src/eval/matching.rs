//! Operators between two vectors: which series of one side belongs to which of the other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use promql_parser::parser::token::{T_LAND, T_LOR};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::Evaluator;
use super::operators::Operator;
use crate::columns::{Column, Steps};
use crate::error::Error;
use crate::labels::Labels;

/// Numbers of the groups in which the series of both sides meet.
struct Signatures {
    left: Vec<usize>,
    right: Vec<usize>,
    count: usize,
}

impl Signatures {
    fn new(modifier: Option<&BinModifier>, left: &[Column], right: &[Column]) -> Self {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut number = |column: &Column| {
            let labels = signature(modifier, &column.labels);
            let next = known.len();
            *known.entry(labels).or_insert(next)
        };
        let left = left.iter().map(&mut number).collect();
        let right = right.iter().map(&mut number).collect();
        Self { left, right, count: known.len() }
    }
}

fn signature(modifier: Option<&BinModifier>, labels: &Labels) -> Labels {
    match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        None => labels.without_name(),
        Some(LabelModifier::Include(names)) => labels.keep(&names.labels),
        Some(LabelModifier::Exclude(names)) => labels.without(&names.labels),
    }
}

impl Evaluator<'_> {
    /// `and`, `or` and `unless`.
    pub(super) fn set_operation(
        &self,
        binary: &BinaryExpr,
        left: &[Column],
        right: &[Column],
        steps: Steps,
    ) -> Result<Vec<Column>, Error> {
        let signatures = Signatures::new(binary.modifier.as_ref(), left, right);
        let present = |columns: &[Column], numbers: &[usize]| {
            let mut present = vec![vec![]; signatures.count];
            for (column, number) in columns.iter().zip(numbers) {
                let steps: &mut Vec<bool> = &mut present[*number];
                steps.resize(column.values.len(), false);
                steps.iter_mut().zip(&column.values).for_each(|(is_present, value)| *is_present |= value.is_some());
            }
            present
        };
        self.budget.spend((signatures.count * steps.len()) as u64)?;
        let mut output = self.output(steps);
        if binary.op.id() == T_LOR {
            left.iter().try_for_each(|column| output.add(column.labels.clone(), &column.values))?;
            let taken = present(left, &signatures.left);
            for (column, number) in right.iter().zip(&signatures.right) {
                output.add(column.labels.clone(), &where_present(column, &taken[*number], false))?;
            }
        } else {
            let wanted = binary.op.id() == T_LAND;
            let there = present(right, &signatures.right);
            for (column, number) in left.iter().zip(&signatures.left) {
                output.add(column.labels.clone(), &where_present(column, &there[*number], wanted))?;
            }
        }
        Ok(output.finish())
    }

    /// Arithmetic and comparison.
    pub(super) fn match_vectors(
        &self,
        binary: &BinaryExpr,
        operator: Operator,
        left: &[Column],
        right: &[Column],
        steps: Steps,
    ) -> Result<Vec<Column>, Error> {
        let modifier = binary.modifier.as_ref();
        let is_swapped = matches!(modifier.map(|m| &m.card), Some(VectorMatchCardinality::OneToMany(_)));
        // The many are on the left from here on.
        let (many, one) = if is_swapped { (right, left) } else { (left, right) };
        let sides = Sides { one, modifier, is_swapped };
        let signatures = Signatures::new(modifier, many, one);
        let mut output = self.output(steps);
        let mut columns: HashMap<(usize, usize), usize> = HashMap::new();
        for step in 0..steps.len() {
            let partners = sides.partners(&signatures, step)?;
            let mut taken = vec![false; signatures.count];
            for (at, column) in many.iter().enumerate() {
                let number = signatures.left[at];
                let (Some(value), Some(partner)) = (column.values[step], partners[number]) else { continue };
                let Some(other) = one[partner].values[step] else { continue };
                let result = if is_swapped { operator.apply(other, value) } else { operator.apply(value, other) };
                let Some(result) = result else { continue };
                if sides.is_one_to_one() && std::mem::replace(&mut taken[number], true) {
                    let message =
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                    return Err(Error::execution(message));
                }
                let target = match columns.entry((at, partner)) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(place) => {
                        *place.insert(output.column(sides.labels(operator, column, &one[partner]))?)
                    }
                };
                output.put(target, step, result).map_err(|_| sides.ambiguous())?;
            }
        }
        Ok(output.finish())
    }
}

fn where_present(column: &Column, present: &[bool], wanted: bool) -> Vec<Option<f64>> {
    let is_present = |step: usize| present.get(step).copied().unwrap_or(false);
    column.values.iter().enumerate().map(|(step, value)| value.filter(|_| is_present(step) == wanted)).collect()
}

struct Sides<'a> {
    one: &'a [Column],
    modifier: Option<&'a BinModifier>,
    is_swapped: bool,
}

impl Sides<'_> {
    fn is_one_to_one(&self) -> bool {
        self.modifier.is_none_or(|modifier| modifier.card == VectorMatchCardinality::OneToOne)
    }

    /// The one series of each group, at one step.
    fn partners(&self, signatures: &Signatures, step: usize) -> Result<Vec<Option<usize>>, Error> {
        let mut partners = vec![None; signatures.count];
        for (at, column) in self.one.iter().enumerate() {
            if column.values[step].is_none() {
                continue;
            }
            if let Some(other) = partners[signatures.right[at]].replace(at) {
                let side = if self.is_swapped { "left" } else { "right" };
                let group = signature(self.modifier, &column.labels);
                let (a, b) = (&self.one[other].labels, &column.labels);
                return Err(Error::execution(format!(
                    "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{b}, {a}];\
                     many-to-many matching not allowed: matching labels must be unique on one side"
                )));
            }
        }
        Ok(partners)
    }

    fn labels(&self, operator: Operator, many: &Column, one: &Column) -> Labels {
        let mut labels = if operator.keeps_name() { many.labels.clone() } else { many.labels.without_name() };
        let Some(modifier) = self.modifier else { return labels };
        match (&modifier.card, &modifier.matching) {
            (VectorMatchCardinality::OneToOne, Some(LabelModifier::Include(names))) => labels.keep(&names.labels),
            (VectorMatchCardinality::OneToOne, Some(LabelModifier::Exclude(names))) => {
                names.labels.iter().for_each(|name| labels.set(name.as_str(), ""));
                labels
            }
            (VectorMatchCardinality::ManyToOne(names) | VectorMatchCardinality::OneToMany(names), _) => {
                names.labels.iter().for_each(|name| labels.set(name.as_str(), one.labels.get(name)));
                labels
            }
            _ => labels,
        }
    }

    fn ambiguous(&self) -> Error {
        if self.is_one_to_one() {
            return Error::same_labels();
        }
        Error::execution("multiple matches for labels: grouping labels must ensure unique matches")
    }
}
