//! Everything that speaks somebody else's protocol, and the two servers that the engine is reached through.
//!
//! - [`grpc`]: `tollgate.v1` for reporters and for whoever cannot evaluate policies itself, port 7401.
//! - `flight`: Arrow Flight SQL on the same port, for whoever reads or writes Arrow.
//! - [`http`]: health, metrics, SQL and the snapshot as JSON, port 7400.
//! - [`lists`]: fetches the lists that policies read.
//! - [`postgres`]: PostgreSQL's wire protocol for everybody's tools, port 7432.
//! - [`export`]: what exports share; [`otlp`]: decision logs and traces to a collector of OpenTelemetry's;
//!   [`remote_write`]: the mesh's series to a Prometheus.
//!
//! [`guard`] knows who may come in, the same for all of them. An adapter converts on arrival into the engine's plain types and decides nothing.

pub mod export;
mod flight;
pub mod grpc;
pub mod guard;
pub mod http;
pub mod lists;
pub mod otlp;
pub mod postgres;
mod prometheus;
pub mod remote_write;
