//! Ids are binary, so that they are small; these turn them into text and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryBuilder, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::arguments::wrong;

/// Where a UUID has its dashes, in bytes.
const UUID_DASHES: &[usize] = &[4, 6, 8, 10];

pub(super) fn functions() -> Vec<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    let read = |name, bytes| ScalarUDF::from(ReadId { name, bytes, signature: signature.clone() });
    let show = |name, dashes| ScalarUDF::from(ShowId { name, dashes, signature: signature.clone() });
    vec![
        read("trace_id", 16),
        read("span_id", 8),
        show("trace_id_text", &[]),
        show("span_id_text", &[]),
        show("uuid_text", UUID_DASHES),
    ]
}

/// `trace_id('4bf9…')`: the id that is written so, for comparing: statistics and bloom filters of files work on it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadId {
    name: &'static str,
    bytes: i32,
    signature: Signature,
}

impl ReadId {
    /// `None` when it is no such id. Dashes, as in UUIDs, are passed over.
    fn parse(&self, text: &str) -> Option<Vec<u8>> {
        let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> = text.chars().filter(|c| *c != '-').map(digit).collect::<Option<_>>()?;
        let is_whole = digits.len() == 2 * self.bytes as usize;
        is_whole.then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    }

    fn wrong(&self, text: &str) -> datafusion::error::DataFusionError {
        let shown: String = text.chars().take(100).collect();
        wrong(format!("`{shown}` is no id for {}: write {} hexadecimal digits", self.name, 2 * self.bytes))
    }
}

impl ScalarUDFImpl for ReadId {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null) => {
                Ok(DataType::FixedSizeBinary(self.bytes))
            }
            _ => Err(wrong(format!("{} takes a text of hexadecimal digits", self.name))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(texts) = arrays.first() else { return Err(wrong(format!("{} takes one argument", self.name))) };
        let is_constant = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        let texts = cast(texts, &DataType::Utf8)?;
        let texts = arrow::array::AsArray::as_string::<i32>(&texts);
        let mut ids = FixedSizeBinaryBuilder::with_capacity(texts.len(), self.bytes);
        for text in texts {
            match text.map(|text| self.parse(text).ok_or_else(|| self.wrong(text))).transpose()? {
                Some(id) => ids.append_value(id)?,
                None => ids.append_null(),
            }
        }
        let ids: ArrayRef = Arc::new(ids.finish());
        Ok(if is_constant { ColumnarValue::Scalar(ScalarValue::try_from_array(&ids, 0)?) } else { ids.into() })
    }
}

/// `trace_id_text(trace_id)`: an id in hexadecimal digits; `uuid_text` in those of a UUID.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ShowId {
    name: &'static str,
    /// Before which bytes a dash is written.
    dashes: &'static [usize],
    signature: Signature,
}

impl ScalarUDFImpl for ShowId {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(
                DataType::FixedSizeBinary(_)
                | DataType::Binary
                | DataType::BinaryView
                | DataType::LargeBinary
                | DataType::Null,
            ) => Ok(DataType::Utf8),
            _ => Err(wrong(format!("{} takes an id, such as `trace_id`", self.name))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(ids) = arrays.first() else { return Err(wrong(format!("{} takes one argument", self.name))) };
        let ids = cast(ids, &DataType::Binary)?;
        let ids = arrow::array::AsArray::as_binary::<i32>(&ids);
        let mut texts = StringBuilder::with_capacity(ids.len(), ids.len() * 36);
        let mut text = String::with_capacity(36);
        for id in ids {
            text.clear();
            for (at, byte) in id.unwrap_or_default().iter().enumerate() {
                if self.dashes.contains(&at) {
                    text.push('-');
                }
                text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
            }
            texts.append_option(id.is_some().then_some(&text));
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        let is_constant = matches!(args.args.first(), Some(ColumnarValue::Scalar(_)));
        Ok(if is_constant { ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?) } else { texts.into() })
    }
}
