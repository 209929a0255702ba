//! Kinds of attribute: for each its Arrow type, the Rust value that fills it, and its builder.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int16Builder, Int64Builder, ListBuilder, MapBuilder,
    MapFieldNames, StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, TimeUnit};

/// Longest text value in bytes; what is longer is cut at a character boundary.
const TEXT_BYTES_MAX: usize = 2_048;
/// Most entries of a list or map in one row; what is more is left out.
const ENTRIES_MAX: usize = 64;

/// Type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microseconds since the epoch, UTC. Never null.
    Time,
    /// Text of which few distinct values occur: a dictionary column.
    Name,
    /// Text that is mostly distinct.
    Text,
    /// 64-bit integer, never null.
    Int,
    /// 64-bit integer that may be unknown.
    Count,
    /// 16-bit code, such as an HTTP status.
    Code,
    /// True or false.
    Flag,
    /// 16 bytes.
    TraceId,
    /// 8 bytes.
    SpanId,
    /// List of identifiers.
    Ids,
    /// Map from text to text.
    Labels,
}

impl Kind {
    /// Arrow type of the column.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Name => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Text => DataType::Utf8,
            Self::Int | Self::Count => DataType::Int64,
            Self::Code => DataType::Int16,
            Self::Flag => DataType::Boolean,
            Self::TraceId => DataType::FixedSizeBinary(16),
            Self::SpanId => DataType::FixedSizeBinary(8),
            Self::Ids => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            Self::Labels => {
                let entry = Fields::from(vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", DataType::Utf8, true),
                ]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
            }
        }
    }

    /// Whether the column may hold nulls.
    #[must_use]
    pub fn is_nullable(self) -> bool {
        !matches!(self, Self::Time | Self::Int)
    }
}

/// How one kind of attribute is collected into an Arrow array.
pub(crate) trait Column {
    const KIND: Kind;
    type Value<'a>: Copy + Default;
    type Builder;

    fn builder(rows: usize) -> Self::Builder;
    /// Appends one value and returns about how many bytes it added.
    fn append(builder: &mut Self::Builder, value: Self::Value<'_>) -> usize;
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
}

pub(crate) struct Time;
pub(crate) struct Name;
pub(crate) struct Text;
pub(crate) struct Int;
pub(crate) struct Count;
pub(crate) struct Code;
pub(crate) struct Flag;
pub(crate) struct TraceId;
pub(crate) struct SpanId;
pub(crate) struct Ids;
pub(crate) struct Labels;

macro_rules! primitive {
    ($kind:ident, $value:ty, $builder:ty, $new:expr, $append:ident, $bytes:literal) => {
        impl Column for $kind {
            const KIND: Kind = Kind::$kind;
            type Value<'a> = $value;
            type Builder = $builder;

            fn builder(rows: usize) -> $builder {
                let new: fn(usize) -> $builder = $new;
                new(rows)
            }

            fn append(builder: &mut $builder, value: $value) -> usize {
                builder.$append(value);
                $bytes
            }

            fn finish(builder: &mut $builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    };
}

primitive!(
    Time,
    i64,
    TimestampMicrosecondBuilder,
    |rows| TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
    append_value,
    8
);
primitive!(Int, i64, Int64Builder, Int64Builder::with_capacity, append_value, 8);
primitive!(Count, Option<i64>, Int64Builder, Int64Builder::with_capacity, append_option, 8);
primitive!(Code, Option<i16>, Int16Builder, Int16Builder::with_capacity, append_option, 2);
primitive!(Flag, bool, BooleanBuilder, BooleanBuilder::with_capacity, append_value, 1);

impl Column for Name {
    const KIND: Kind = Kind::Name;
    type Value<'a> = &'a str;
    type Builder = StringDictionaryBuilder<Int32Type>;

    fn builder(rows: usize) -> Self::Builder {
        StringDictionaryBuilder::with_capacity(rows, 64, 1_024)
    }

    fn append(builder: &mut Self::Builder, value: &str) -> usize {
        if value.is_empty() {
            builder.append_null();
        } else {
            builder.append_value(cut(value));
        }
        // The value itself is counted each time: an upper bound, cheaper than asking whether it is new.
        4 + value.len().min(TEXT_BYTES_MAX)
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Column for Text {
    const KIND: Kind = Kind::Text;
    type Value<'a> = &'a str;
    type Builder = StringBuilder;

    fn builder(rows: usize) -> Self::Builder {
        StringBuilder::with_capacity(rows, rows * 36)
    }

    fn append(builder: &mut Self::Builder, value: &str) -> usize {
        builder.append_option((!value.is_empty()).then(|| cut(value)));
        4 + value.len().min(TEXT_BYTES_MAX)
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

macro_rules! fixed_binary {
    ($kind:ident, $bytes:literal) => {
        impl Column for $kind {
            const KIND: Kind = Kind::$kind;
            type Value<'a> = Option<[u8; $bytes]>;
            type Builder = FixedSizeBinaryBuilder;

            fn builder(rows: usize) -> Self::Builder {
                FixedSizeBinaryBuilder::with_capacity(rows, $bytes)
            }

            fn append(builder: &mut Self::Builder, value: Self::Value<'_>) -> usize {
                match value {
                    // The only error is a value of another length, which the array type excludes.
                    Some(id) => drop(builder.append_value(id)),
                    None => builder.append_null(),
                }
                $bytes
            }

            fn finish(builder: &mut Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    };
}

fixed_binary!(TraceId, 16);
fixed_binary!(SpanId, 8);

impl Column for Ids {
    const KIND: Kind = Kind::Ids;
    type Value<'a> = &'a [Arc<str>];
    type Builder = ListBuilder<StringBuilder>;

    fn builder(rows: usize) -> Self::Builder {
        ListBuilder::with_capacity(StringBuilder::with_capacity(rows, rows * 16), rows)
    }

    fn append(builder: &mut Self::Builder, value: &[Arc<str>]) -> usize {
        let mut bytes = 4;
        for id in value.iter().take(ENTRIES_MAX) {
            builder.values().append_value(cut(id));
            bytes += 4 + id.len().min(TEXT_BYTES_MAX);
        }
        builder.append(!value.is_empty());
        bytes
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Column for Labels {
    const KIND: Kind = Kind::Labels;
    type Value<'a> = &'a [(Arc<str>, String)];
    type Builder = MapBuilder<StringBuilder, StringBuilder>;

    fn builder(rows: usize) -> Self::Builder {
        let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        MapBuilder::with_capacity(Some(names), StringBuilder::new(), StringBuilder::new(), rows)
    }

    fn append(builder: &mut Self::Builder, value: &[(Arc<str>, String)]) -> usize {
        let mut bytes = 4;
        for (key, label) in value.iter().take(ENTRIES_MAX) {
            builder.keys().append_value(cut(key));
            builder.values().append_value(cut(label));
            bytes += 8 + key.len().min(TEXT_BYTES_MAX) + label.len().min(TEXT_BYTES_MAX);
        }
        // The only error is keys and values of different number, which the loop excludes.
        drop(builder.append(!value.is_empty()));
        bytes
    }

    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// The longest prefix of at most [`TEXT_BYTES_MAX`] bytes that ends at a character boundary.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
