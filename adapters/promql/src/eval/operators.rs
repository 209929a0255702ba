//! Arithmetic and comparison: between numbers, and between a vector and a number.

use promql_parser::parser::BinaryExpr;
use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LSS, T_LTE, T_MOD, T_MUL, T_NEQ, T_POW, T_SUB, TokenId,
};

use super::Evaluator;
use crate::columns::{Column, Steps, Value};
use crate::error::Error;

/// An operator that takes two numbers.
#[derive(Clone, Copy)]
pub(super) enum Operator {
    Arithmetic(fn(f64, f64) -> f64),
    /// Keeps the left number where it holds.
    Filter(fn(f64, f64) -> bool),
    /// 1 where it holds, else 0: a comparison with `bool`.
    Claim(fn(f64, f64) -> bool),
}

impl Operator {
    pub(super) fn find(op: TokenId, returns_bool: bool) -> Option<Self> {
        let arithmetic: Option<fn(f64, f64) -> f64> = match op {
            T_ADD => Some(|a, b| a + b),
            T_SUB => Some(|a, b| a - b),
            T_MUL => Some(|a, b| a * b),
            T_DIV => Some(|a, b| a / b),
            T_MOD => Some(|a, b| a % b),
            T_POW => Some(f64::powf),
            T_ATAN2 => Some(f64::atan2),
            _ => None,
        };
        let comparison: Option<fn(f64, f64) -> bool> = match op {
            T_EQLC => Some(|a, b| a == b),
            T_NEQ => Some(|a, b| a != b),
            T_GTR => Some(|a, b| a > b),
            T_LSS => Some(|a, b| a < b),
            T_GTE => Some(|a, b| a >= b),
            T_LTE => Some(|a, b| a <= b),
            _ => None,
        };
        let comparison = comparison.map(if returns_bool { Self::Claim } else { Self::Filter });
        arithmetic.map(Self::Arithmetic).or(comparison)
    }

    /// The result; nothing where a comparison filters it out.
    pub(super) fn apply(self, left: f64, right: f64) -> Option<f64> {
        match self {
            Self::Arithmetic(compute) => Some(compute(left, right)),
            Self::Filter(holds) => holds(left, right).then_some(left),
            Self::Claim(holds) => Some(f64::from(u8::from(holds(left, right)))),
        }
    }

    /// Whether the result is still what the metric's name says.
    pub(super) const fn keeps_name(self) -> bool {
        matches!(self, Self::Filter(_))
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &BinaryExpr, steps: Steps) -> Result<Value, Error> {
        if let Some(modifier) = &binary.modifier
            && (modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some())
        {
            return Err(self.unsupported("the modifier `fill`", "fill"));
        }
        let left = self.vector_or_scalar(&binary.lhs, steps)?;
        let right = self.vector_or_scalar(&binary.rhs, steps)?;
        if binary.op.is_set_operator()
            && let (Value::Vector(left), Value::Vector(right)) = (&left, &right)
        {
            return Ok(Value::Vector(self.set_operation(binary, left, right, steps)?));
        }
        let Some(operator) = Operator::find(binary.op.id(), binary.return_bool()) else {
            let name = binary.op.to_string();
            return Err(self.unsupported(format!("the operator `{name}` between these operands"), &name));
        };
        match (left, right) {
            (Value::Vector(left), Value::Vector(right)) => {
                Ok(Value::Vector(self.match_vectors(binary, operator, &left, &right, steps)?))
            }
            (Value::Vector(vector), Value::Scalar(numbers)) => {
                self.with_numbers(operator, vector, |step, value| operator.apply(value, numbers[step]))
            }
            (Value::Scalar(numbers), Value::Vector(vector)) => {
                // A filter keeps the vector's value, whichever side it stands on.
                self.with_numbers(operator, vector, |step, value| {
                    let result = operator.apply(numbers[step], value)?;
                    Some(if operator.keeps_name() { value } else { result })
                })
            }
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Ok(Value::Scalar(pairs.map(|(a, b)| operator.apply(a, b).unwrap_or(f64::NAN)).collect()))
            }
            _ => Err(Error::execution("a text has no operators")),
        }
    }

    fn with_numbers(
        &self,
        operator: Operator,
        mut vector: Vec<Column>,
        change: impl Fn(usize, f64) -> Option<f64>,
    ) -> Result<Value, Error> {
        if !operator.keeps_name() {
            return Ok(Value::Vector(self.map(vector, change)?));
        }
        for column in &mut vector {
            for (step, value) in column.values.iter_mut().enumerate() {
                *value = value.and_then(|value| change(step, value));
            }
        }
        vector.retain(|column| column.values.iter().any(Option::is_some));
        Ok(Value::Vector(vector))
    }
}
