//! The one table of attributes, and what is derived from it: the Arrow schema, [`Row`] and its columns.

use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::column::{self, Column, Kind};

/// One typed fact about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// Name of the column in `requests`, of the field in [`Row`], and in every document.
    pub name: &'static str,
    /// Type, from which the Arrow type follows.
    pub kind: Kind,
    /// Where Cedar sees it (`principal`, `resource`, `context.path`); empty where it does not.
    pub cedar: &'static str,
    /// Name in the OpenTelemetry semantic conventions, or empty.
    pub otel: &'static str,
    /// Name in Istio Mixer's manifest, or empty.
    pub mixer: &'static str,
    /// Field of Envoy's gRPC access log (`envoy.data.accesslog.v3`), or empty.
    pub envoy: &'static str,
    /// One line of documentation.
    pub doc: &'static str,
}

/// The Rust type of a kind's values, spelt out because [`Row`] is public and the kinds' own types are not.
macro_rules! value {
    (Time, $a:lifetime) => { i64 };
    (Int, $a:lifetime) => { i64 };
    (Count, $a:lifetime) => { Option<i64> };
    (Code, $a:lifetime) => { Option<i16> };
    (Flag, $a:lifetime) => { bool };
    (Name, $a:lifetime) => { &$a str };
    (Text, $a:lifetime) => { &$a str };
    (TraceId, $a:lifetime) => { Option<[u8; 16]> };
    (SpanId, $a:lifetime) => { Option<[u8; 8]> };
    (Ids, $a:lifetime) => { &$a [Arc<str>] };
    (Labels, $a:lifetime) => { &$a [(Arc<str>, String)] };
}

macro_rules! vocabulary {
    ($( $name:ident : $kind:ident, $cedar:literal, $otel:literal, $mixer:literal, $envoy:literal, $doc:literal; )*) => {
        /// Every attribute, in the order of the columns of `requests`.
        pub static ATTRIBUTES: &[Attribute] = &[$(Attribute {
            name: stringify!($name),
            kind: <column::$kind as Column>::KIND,
            cedar: $cedar,
            otel: $otel,
            mixer: $mixer,
            envoy: $envoy,
            doc: $doc,
        }),*];

        /// One request, borrowed from whoever saw it. An empty text or list, and `None`, become null.
        #[derive(Debug, Clone, Copy, Default)]
        pub struct Row<'a> {
            $(#[doc = $doc] pub $name: value!($kind, 'a),)*
        }

        /// One Arrow builder for each attribute.
        pub(crate) struct Columns {
            $($name: <column::$kind as Column>::Builder,)*
        }

        impl Columns {
            pub(crate) fn with_capacity(rows: usize) -> Self {
                Self { $($name: column::$kind::builder(rows),)* }
            }

            /// Appends one row and returns about how many bytes it added.
            pub(crate) fn append(&mut self, row: &Row<'_>) -> usize {
                let mut bytes = 0;
                $(bytes += column::$kind::append(&mut self.$name, row.$name);)*
                bytes
            }

            pub(crate) fn finish(&mut self) -> Vec<ArrayRef> {
                vec![$(column::$kind::finish(&mut self.$name)),*]
            }
        }
    };
}

// name: kind, Cedar, OpenTelemetry, Mixer, Envoy access log, documentation
vocabulary! {
    time: Time, "context.time", "", "request.time", "common_properties.start_time", "When the request began, UTC.";
    reporter: Name, "", "", "context.reporter.uid", "identifier.node.id", "The proxy that saw the request.";
    direction: Name, "", "", "context.reporter.kind", "common_properties.traffic_direction", "`inbound`, `outbound` or `gateway`: on which side of the call the reporter stood.";
    source: Name, "principal", "", "source.workload.name", "", "The calling service as `namespace/name`; null when it is anonymous.";
    source_namespace: Name, "principal in", "", "source.workload.namespace", "", "Namespace of the calling service.";
    source_version: Name, "", "", "source.labels[\"version\"]", "", "Version of the calling service, where its proxy says so.";
    source_principal: Name, "", "", "source.principal", "common_properties.tls_properties.peer_certificate_properties.subject_alt_name", "Identity that the caller proved, a SPIFFE ID or a certificate name. `tollgate-proxy` leaves it empty.";
    source_address: Name, "context.source_address", "client.address", "source.ip", "common_properties.downstream_remote_address", "Address of the caller's end of the connection, without the port.";
    destination: Name, "resource", "service.name", "destination.service.name", "common_properties.upstream_cluster", "The called service as `namespace/name`.";
    destination_namespace: Name, "resource in", "service.namespace", "destination.service.namespace", "", "Namespace of the called service.";
    destination_version: Name, "", "service.version", "destination.labels[\"version\"]", "", "Version of the called service, where its proxy says so.";
    destination_address: Name, "", "network.peer.address", "destination.ip", "common_properties.upstream_remote_address", "Address and port that the request was forwarded to; null when it was not.";
    user: Name, "context.user", "enduser.id", "request.auth.principal", "", "End user, from a verified token. `tollgate-proxy` leaves it empty.";
    method: Name, "context.method", "http.request.method", "request.method", "request.request_method", "HTTP method, in upper case.";
    scheme: Name, "context.scheme", "url.scheme", "request.scheme", "request.scheme", "`http` or `https`.";
    host: Name, "context.host", "server.address", "request.host", "request.authority", "Host and port that the caller asked for, in lower case.";
    path: Name, "context.path", "url.path", "request.url_path", "request.path", "Path without the query string.";
    route: Name, "context.route", "http.route", "api.operation", "common_properties.route_name", "Template of the route that matched, such as `/items/{id}`.";
    protocol: Name, "context.protocol", "network.protocol.version", "context.protocol", "protocol_version", "`http/1.0`, `http/1.1`, `http/2` or `grpc`.";
    user_agent: Name, "context.user_agent", "user_agent.original", "request.useragent", "request.user_agent", "The `User-Agent` header.";
    status: Code, "", "http.response.status_code", "response.code", "response.response_code", "HTTP status that the caller got; null when the connection broke first.";
    grpc_status: Code, "", "rpc.response.status_code", "response.grpc_status", "response.response_trailers[\"grpc-status\"]", "gRPC status code, for gRPC.";
    response_flags: Name, "", "error.type", "context.proxy_error_code", "common_properties.response_flags", "What the proxy saw go wrong: `upstream_connect`, `upstream_reset`, `upstream_timeout`, `downstream_reset`, `bad_request`.";
    duration_us: Int, "", "http.server.request.duration", "response.duration", "common_properties.time_to_last_downstream_tx_byte", "Microseconds from the first byte of the request to the last byte of the response.";
    upstream_us: Count, "", "", "", "common_properties.time_to_first_upstream_rx_byte", "Microseconds from forwarding to the response's headers; null when not forwarded.";
    queued_us: Int, "", "", "", "", "Microseconds that the request waited for a token or for capacity.";
    request_bytes: Int, "", "http.request.body.size", "request.size", "request.request_body_bytes", "Bytes of the request's body.";
    response_bytes: Int, "", "http.response.body.size", "response.size", "response.response_body_bytes", "Bytes of the response's body.";
    attempts: Code, "", "http.request.resend_count", "", "common_properties.upstream_request_attempt_count", "How often the request was sent upstream; 0 when it was not.";
    is_mtls: Flag, "context.is_mtls", "", "connection.mtls", "common_properties.tls_properties", "Whether the caller proved its identity by mutual TLS. `tollgate-proxy` says false.";
    decision: Name, "", "", "check.error_code", "common_properties.response_flags", "`allow`, `deny`, `limit` (over a rate) or `shed` (no capacity).";
    reason: Name, "", "", "check.error_message", "common_properties.response_code_details", "Why it was decided so, such as `permitted`, `forbidden`, `no_permit`, `rate`.";
    policies: Ids, "", "", "", "", "Ids of the policies that decided.";
    shadow: Ids, "", "", "rbac.permissive.response_policy_id", "", "Ids of the policies in shadow mode that would have denied or limited.";
    priority: Name, "", "", "", "", "`critical`, `high`, `normal` or `batch`.";
    snapshot: Int, "", "", "", "", "Version of the snapshot that decided; 0 before the first one.";
    weight: Int, "", "", "", "", "How many requests this row stands for; 1 unless raw rows are sampled.";
    trace_id: TraceId, "", "trace_id", "", "common_properties.custom_tags[\"trace_id\"]", "W3C trace id, 16 bytes.";
    span_id: SpanId, "", "span_id", "", "common_properties.custom_tags[\"span_id\"]", "W3C id of the span that the reporter made for the request, 8 bytes.";
    request_id: Text, "", "", "request.id", "request.request_id", "The `x-request-id` header.";
    labels: Labels, "context.headers, context.claims", "http.request.header.<key>", "request.headers", "common_properties.custom_tags", "Headers that the configuration of the proxy asks for by name.";
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = ATTRIBUTES
        .iter()
        .map(|attribute| Field::new(attribute.name, attribute.kind.data_type(), attribute.kind.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// Arrow schema of `requests`: one field for each of [`ATTRIBUTES`], in that order.
#[must_use]
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The attribute of this name.
#[must_use]
pub fn attribute(name: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|attribute| attribute.name == name)
}
