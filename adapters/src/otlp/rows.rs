//! Rows of `requests` as attributes, under the names of OpenTelemetry's semantic conventions where there are any, and under
//! `tollgate.` where there are none.

use arrow::array::{
    Array, AsArray, BooleanArray, FixedSizeBinaryArray, Int16Array, Int64Array, ListArray, MapArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use tollgate_attributes::{ATTRIBUTES, Attribute, Kind};

/// What stands elsewhere: times and ids in fields of their own, the called service in the resource.
const ELSEWHERE: [&str; 8] = [
    "time",
    "duration_us",
    "trace_id",
    "span_id",
    "source_namespace",
    "destination_namespace",
    "destination_version",
    "weight",
];
/// Numbers that say nothing when they are 0.
const SILENT_ZEROS: [&str; 2] = ["queued_us", "snapshot"];

/// A batch of `requests`.
pub(super) struct Rows<'a> {
    batch: &'a RecordBatch,
    columns: Vec<(&'static Attribute, Values<'a>)>,
}

enum Values<'a> {
    Names(&'a [i32], &'a dyn Array, &'a StringArray),
    Texts(&'a StringArray),
    Integers(&'a Int64Array),
    Codes(&'a Int16Array),
    Flags(&'a BooleanArray),
    Lists(&'a ListArray),
    Maps(&'a MapArray),
    Ids(&'a FixedSizeBinaryArray),
    Times(&'a TimestampMicrosecondArray),
}

impl<'a> Rows<'a> {
    /// Columns that the batch does not have, or has with another type than the vocabulary's, are left out.
    pub(super) fn new(batch: &'a RecordBatch) -> Self {
        let column = |attribute: &'static Attribute| {
            let column = batch.column_by_name(attribute.name)?;
            Some((attribute, Values::of(column.as_ref(), attribute.kind)?))
        };
        Self { batch, columns: ATTRIBUTES.iter().filter_map(column).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// The text of a column of names.
    pub(super) fn name(&self, column: &str, row: usize) -> Option<&'a str> {
        self.values(column)?.name(row)
    }

    /// A number, whatever its width; times in microseconds.
    pub(super) fn number(&self, column: &str, row: usize) -> Option<i64> {
        match self.values(column)? {
            Values::Integers(values) => values.is_valid(row).then(|| values.value(row)),
            Values::Codes(values) => values.is_valid(row).then(|| values.value(row).into()),
            Values::Times(values) => values.is_valid(row).then(|| values.value(row)),
            _ => None,
        }
    }

    /// The bytes of a trace or span id; none where there is none, or it is all zeros.
    pub(super) fn id(&self, column: &str, row: usize) -> Vec<u8> {
        match self.values(column) {
            Some(Values::Ids(values)) if values.is_valid(row) && values.value(row).iter().any(|byte| *byte != 0) => {
                values.value(row).to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the request was denied, limited or shed.
    pub(super) fn is_refused(&self, row: usize) -> bool {
        self.name("decision", row).is_some_and(|decision| decision != "allow")
    }

    /// Whether the called service failed: 5xx, or no status at all.
    pub(super) fn is_failed(&self, row: usize) -> bool {
        self.number("status", row).is_none_or(|status| status >= 500)
    }

    /// Everything that is known about a request and has no place of its own.
    pub(super) fn attributes(&self, row: usize) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(24);
        for (attribute, values) in &self.columns {
            if !ELSEWHERE.contains(&attribute.name) {
                push(&mut attributes, attribute, values, row);
            }
        }
        if let (None, Some(status @ 500..)) = (self.name("response_flags", row), self.number("status", row)) {
            attributes.push(pair("error.type", text(&status.to_string())));
        }
        attributes
    }

    fn values(&self, column: &str) -> Option<&Values<'a>> {
        self.columns.iter().find(|(attribute, _)| attribute.name == column).map(|(_, values)| values)
    }
}

impl<'a> Values<'a> {
    fn of(column: &'a dyn Array, kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Name => {
                let names = column.as_dictionary_opt::<Int32Type>()?;
                Self::Names(names.keys().values(), column, names.values().as_string_opt::<i32>()?)
            }
            Kind::Text => Self::Texts(column.as_string_opt::<i32>()?),
            Kind::Int | Kind::Count => Self::Integers(column.as_primitive_opt::<Int64Type>()?),
            Kind::Code => Self::Codes(column.as_primitive_opt::<Int16Type>()?),
            Kind::Flag => Self::Flags(column.as_boolean_opt()?),
            Kind::Ids => Self::Lists(column.as_list_opt::<i32>()?),
            Kind::Labels => Self::Maps(column.as_map_opt()?),
            Kind::TraceId | Kind::SpanId => Self::Ids(column.as_fixed_size_binary_opt()?),
            Kind::Time => Self::Times(column.as_primitive_opt::<TimestampMicrosecondType>()?),
        })
    }

    fn name(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Names(codes, column, texts) if column.is_valid(row) => {
                let code = usize::try_from(*codes.get(row)?).ok()?;
                (texts.len() > code && texts.is_valid(code)).then(|| texts.value(code))
            }
            Self::Texts(texts) => texts.is_valid(row).then(|| texts.value(row)),
            _ => None,
        }
    }
}

/// The attribute of one column, in the shape that the conventions give it.
fn push(attributes: &mut Vec<KeyValue>, attribute: &'static Attribute, values: &Values<'_>, row: usize) {
    let key = key(attribute);
    match values {
        Values::Names(..) | Values::Texts(_) => {
            let Some(name) = values.name(row) else { return };
            match attribute.name {
                "host" => {
                    let (host, port) = host_and_port(name);
                    attributes.push(pair(&key, text(host)));
                    attributes.extend(port.map(|port| pair("server.port", integer(port))));
                }
                "protocol" => {
                    attributes.push(pair("network.protocol.name", text("http")));
                    let version = if name == "grpc" { "2" } else { name.strip_prefix("http/").unwrap_or(name) };
                    attributes.push(pair(&key, text(version)));
                }
                _ => attributes.push(pair(&key, text(name))),
            }
        }
        Values::Integers(numbers) => {
            if numbers.is_valid(row) && !(numbers.value(row) == 0 && SILENT_ZEROS.contains(&attribute.name)) {
                attributes.push(pair(&key, integer(numbers.value(row))));
            }
        }
        Values::Codes(codes) => {
            let code = codes.is_valid(row).then(|| i64::from(codes.value(row)));
            // What is counted here is every sending, and there only those after the first.
            let code = if attribute.name == "attempts" { code.filter(|n| *n > 1).map(|n| n - 1) } else { code };
            attributes.extend(code.map(|code| pair(&key, integer(code))));
        }
        Values::Flags(flags) => {
            if flags.is_valid(row) {
                attributes.push(pair(&key, flag(flags.value(row))));
            }
        }
        Values::Lists(lists) => {
            if let Some(ids) = lists.is_valid(row).then(|| lists.value(row)) {
                let ids: Vec<_> = ids.as_string_opt::<i32>().into_iter().flatten().flatten().map(text).collect();
                attributes.push(pair(&key, list(ids)));
            }
        }
        Values::Maps(maps) => {
            let Some(entries) = maps.is_valid(row).then(|| maps.value(row)) else { return };
            let [Some(keys), Some(values)] = [0, 1].map(|at| entries.column(at).as_string_opt::<i32>()) else { return };
            for (name, value) in keys.iter().zip(values) {
                if let (Some(name), Some(value)) = (name, value) {
                    attributes.push(pair(&format!("http.request.header.{name}"), list(vec![text(value)])));
                }
            }
        }
        Values::Ids(_) | Values::Times(_) => {}
    }
}

/// Its name in the conventions. That of the called service belongs to a resource, not to a request.
fn key(attribute: &Attribute) -> String {
    match attribute.otel {
        "" | "service.name" => format!("tollgate.{}", attribute.name),
        name => name.to_owned(),
    }
}

/// `[::1]:80` and `shop:80` have a port, `::1` has none.
fn host_and_port(host: &str) -> (&str, Option<i64>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            port.parse().map_or((host, None), |port| (name.trim_matches(['[', ']']), Some(port)))
        }
        _ => (host, None),
    }
}

pub(super) fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub(super) fn text(value: &str) -> AnyValue {
    any(Value::StringValue(value.to_owned()))
}

pub(super) fn integer(value: i64) -> AnyValue {
    any(Value::IntValue(value))
}

pub(super) fn flag(value: bool) -> AnyValue {
    any(Value::BoolValue(value))
}

fn list(values: Vec<AnyValue>) -> AnyValue {
    any(Value::ArrayValue(ArrayValue { values }))
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_from_addresses() {
        for (host, name, port) in [
            ("shop", "shop", None),
            ("shop:8080", "shop", Some(8080)),
            ("[::1]:80", "::1", Some(80)),
            ("::1", "::1", None),
            ("shop:http", "shop:http", None),
        ] {
            assert_eq!(host_and_port(host), (name, port));
        }
    }
}
