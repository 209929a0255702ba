//! Matches the columns of a stream's schema with the vocabulary.

use arrow::ipc;
use tollgate_attributes::{ATTRIBUTES, Kind};

use super::Refusal;
use super::framing::Frame;

/// One column of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamColumn {
    /// Index into [`ATTRIBUTES`].
    pub(super) attribute: usize,
    pub(super) kind: Kind,
    /// Which dictionary its values are in, for names.
    pub(super) dictionary: Option<i64>,
}

impl StreamColumn {
    pub(super) fn name(self) -> &'static str {
        ATTRIBUTES.get(self.attribute).map_or("", |attribute| attribute.name)
    }
}

/// Reads the schema message: every column must be in the vocabulary, once, and with its type.
pub(super) fn read(frame: &Frame<'_>) -> Result<Vec<StreamColumn>, Refusal> {
    let message = frame.message;
    if message.version() < ipc::MetadataVersion::V5 {
        return Err(Refusal::schema("the Arrow IPC metadata is older than version 5"));
    }
    let schema =
        message.header_as_schema().ok_or_else(|| Refusal::malformed("the stream does not begin with a schema"))?;
    if schema.endianness() != ipc::Endianness::Little {
        return Err(Refusal::schema("the columns are big endian"));
    }
    let fields = schema.fields().ok_or_else(|| Refusal::schema("the schema has no columns"))?;
    let mut columns: Vec<StreamColumn> = Vec::with_capacity(ATTRIBUTES.len());
    for field in fields {
        let column = column(field)?;
        if columns.iter().any(|earlier| earlier.attribute == column.attribute) {
            return Err(Refusal::schema(format!("the column `{}` is there twice", column.name())));
        }
        columns.push(column);
    }
    Ok(columns)
}

fn column(field: ipc::Field<'_>) -> Result<StreamColumn, Refusal> {
    let name = field.name().unwrap_or_default();
    let attribute =
        ATTRIBUTES.iter().position(|attribute| attribute.name == name).ok_or_else(|| Refusal::schema(unknown(name)))?;
    let kind = ATTRIBUTES[attribute].kind;
    if !is_of_kind(field, kind) {
        let expected = kind.data_type();
        return Err(Refusal::schema(format!("the column `{name}` has another type than {expected}")));
    }
    Ok(StreamColumn { attribute, kind, dictionary: field.dictionary().map(|dictionary| dictionary.id()) })
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    match crate::suggest::closest(&name, ATTRIBUTES.iter().map(|attribute| attribute.name)) {
        Some(known) => format!("unknown column `{name}`: did you mean `{known}`?"),
        None => format!("unknown column `{name}`"),
    }
}

fn is_of_kind(field: ipc::Field<'_>, kind: Kind) -> bool {
    if field.dictionary().is_some() && kind != Kind::Name {
        return false;
    }
    match kind {
        Kind::Time => field.type_as_timestamp().is_some_and(|timestamp| {
            timestamp.unit() == ipc::TimeUnit::MICROSECOND && timestamp.timezone() == Some("UTC")
        }),
        Kind::Name => is_text(field) && field.dictionary().is_some_and(has_32_bit_keys),
        Kind::Text => is_text(field),
        Kind::Int | Kind::Count => field.type_as_int().is_some_and(|int| int.is_signed() && int.bitWidth() == 64),
        Kind::Code => field.type_as_int().is_some_and(|int| int.is_signed() && int.bitWidth() == 16),
        Kind::Flag => field.type_type() == ipc::Type::Bool,
        Kind::TraceId => field.type_as_fixed_size_binary().is_some_and(|binary| binary.byteWidth() == 16),
        Kind::SpanId => field.type_as_fixed_size_binary().is_some_and(|binary| binary.byteWidth() == 8),
        Kind::Ids => field.type_type() == ipc::Type::List && children(field).is_some_and(|[item]| is_plain_text(item)),
        Kind::Labels => {
            field.type_type() == ipc::Type::Map
                && children(field).is_some_and(|[entries]| {
                    entries.type_type() == ipc::Type::Struct_
                        && children(entries).is_some_and(|[key, value]| is_plain_text(key) && is_plain_text(value))
                })
        }
    }
}

fn is_text(field: ipc::Field<'_>) -> bool {
    field.type_type() == ipc::Type::Utf8
}

fn is_plain_text(field: ipc::Field<'_>) -> bool {
    is_text(field) && field.dictionary().is_none()
}

/// The format says that keys are 32-bit integers where nothing else is said.
fn has_32_bit_keys(dictionary: ipc::DictionaryEncoding<'_>) -> bool {
    dictionary.indexType().is_none_or(|int| int.is_signed() && int.bitWidth() == 32)
}

fn children<'a, const N: usize>(field: ipc::Field<'a>) -> Option<[ipc::Field<'a>; N]> {
    let children = field.children()?;
    (children.len() == N).then(|| std::array::from_fn(|index| children.get(index)))
}
