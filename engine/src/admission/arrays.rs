//! Makes Arrow arrays of buffers: one function for each shape that the vocabulary has.
//!
//! Arrow checks offsets, UTF-8 and dictionary keys when an array is built; what Arrow asserts instead is checked here.

use std::collections::BTreeMap;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::ipc;
use tollgate_attributes::Kind;

use super::Refusal;
use super::buffers::{Body, Budget, Node};
use super::columns::StreamColumn;

/// The dictionaries of a stream, by id.
pub(super) struct Dictionaries {
    values: BTreeMap<i64, Option<ArrayData>>,
}

impl Dictionaries {
    /// No dictionary yet for any of the columns.
    pub(super) fn new(columns: &[StreamColumn]) -> Self {
        Self { values: columns.iter().filter_map(|column| column.dictionary).map(|id| (id, None)).collect() }
    }

    /// Reads the values of one dictionary. Each comes once and whole.
    pub(super) fn read(
        &mut self,
        dictionary: ipc::DictionaryBatch<'_>,
        body: &[u8],
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        let slot = self.values.get_mut(&dictionary.id());
        let slot = slot.ok_or_else(|| Refusal::malformed("a dictionary that no column uses"))?;
        if slot.is_some() || dictionary.isDelta() {
            return Err(Refusal::malformed("a dictionary is sent in parts: each message is a stream of its own"));
        }
        let data = dictionary.data().ok_or_else(|| Refusal::malformed("a dictionary without values"))?;
        let mut body = Body::new(data, body, budget)?;
        *slot = Some(text(&mut body)?);
        body.expect_end()
    }

    /// A dictionary may be missing when all rows are null.
    fn get(&self, id: Option<i64>) -> ArrayData {
        let values = id.and_then(|id| self.values.get(&id)).and_then(Option::as_ref);
        values.cloned().unwrap_or_else(|| ArrayData::new_empty(&DataType::Utf8))
    }
}

/// Reads the next column of a record batch.
pub(super) fn read_column(
    body: &mut Body<'_>,
    column: StreamColumn,
    dictionaries: &Dictionaries,
    rows: usize,
) -> Result<ArrayRef, Refusal> {
    let data_type = column.kind.data_type();
    let data = match column.kind {
        Kind::Name => {
            let values = dictionaries.get(column.dictionary);
            fixed(body, data_type, 32).and_then(|keys| build(keys.add_child_data(values)))
        }
        Kind::Text => text(body),
        Kind::Time | Kind::Int | Kind::Count => fixed(body, data_type, 64).and_then(build),
        Kind::Code => fixed(body, data_type, 16).and_then(build),
        Kind::Flag => fixed(body, data_type, 1).and_then(build),
        Kind::TraceId => fixed(body, data_type, 128).and_then(build),
        Kind::SpanId => fixed(body, data_type, 64).and_then(build),
        Kind::Ids => list(body, data_type, text),
        Kind::Labels => list(body, data_type, entries),
    };
    let data =
        data.map_err(|refusal| Refusal { message: format!("`{}`: {}", column.name(), refusal.message), ..refusal })?;
    if data.len() != rows {
        let (name, found) = (column.name(), data.len());
        return Err(Refusal::malformed(format!("`{name}` has {found} values in a batch of {rows} rows")));
    }
    if data.null_count() > 0 && !column.kind.is_nullable() {
        return Err(Refusal::value(format!("`{}` has nulls", column.name())));
    }
    Ok(make_array(data))
}

type Builder = arrow::array::ArrayDataBuilder;

fn build(builder: Builder) -> Result<ArrayData, Refusal> {
    builder.align_buffers(true).build().map_err(|error| Refusal::malformed(error.to_string()))
}

/// Values of a fixed number of bits.
fn fixed(body: &mut Body<'_>, data_type: DataType, bits: usize) -> Result<Builder, Refusal> {
    let node = body.node()?;
    let nulls = body.validity(node)?;
    let values = body.buffer()?;
    let bytes = node.rows.saturating_mul(bits).div_ceil(8);
    if values.len() < bytes {
        return Err(Refusal::malformed("the values are shorter than their array"));
    }
    // Without the padding, whose length Arrow asserts to be that of whole values.
    let values = values.slice_with_length(0, bytes);
    Ok(ArrayData::builder(data_type).len(node.rows).nulls(nulls).add_buffer(values))
}

fn text(body: &mut Body<'_>) -> Result<ArrayData, Refusal> {
    let node = body.node()?;
    let nulls = body.validity(node)?;
    let offsets = offsets(body, node)?;
    let values = body.buffer()?;
    build(ArrayData::builder(DataType::Utf8).len(node.rows).nulls(nulls).buffers(vec![offsets, values]))
}

/// A list, or a map, which is a list of entries.
fn list(
    body: &mut Body<'_>,
    data_type: DataType,
    child: fn(&mut Body<'_>) -> Result<ArrayData, Refusal>,
) -> Result<ArrayData, Refusal> {
    let node = body.node()?;
    let nulls = body.validity(node)?;
    let offsets = offsets(body, node)?;
    let child = child(body)?;
    build(ArrayData::builder(data_type).len(node.rows).nulls(nulls).add_buffer(offsets).add_child_data(child))
}

/// Key and value of a map.
fn entries(body: &mut Body<'_>) -> Result<ArrayData, Refusal> {
    let node = body.node()?;
    if body.validity(node)?.is_some_and(|nulls| nulls.null_count() > 0) {
        return Err(Refusal::malformed("an entry of a map is null"));
    }
    let (keys, values) = (text(body)?, text(body)?);
    if keys.len() != node.rows || values.len() != node.rows || keys.null_count() > 0 {
        return Err(Refusal::malformed("a map has a key without a value or a value without a key"));
    }
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    build(ArrayData::builder(DataType::Struct(fields)).len(node.rows).child_data(vec![keys, values]))
}

/// One offset more than there are rows; an empty array may have none.
fn offsets(body: &mut Body<'_>, node: Node) -> Result<Buffer, Refusal> {
    let offsets = body.buffer()?;
    if node.rows == 0 && offsets.is_empty() {
        return Ok(Buffer::from_vec(vec![0_i32]));
    }
    let bytes = (node.rows + 1).saturating_mul(size_of::<i32>());
    if offsets.len() < bytes {
        return Err(Refusal::malformed("the offsets are shorter than their array"));
    }
    Ok(offsets.slice_with_length(0, bytes))
}
