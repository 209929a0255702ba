//! What exports have in common: waiting and trying again, certificates, headers, and what can be wrong with them.
//!
//! - `outbox`: what waits to be sent, and its sending; `retry`: which failures pass, and how long to wait;
//! - `client`: HTTP with the receiver's certificates and headers.

pub(crate) mod client;
pub(crate) mod outbox;
pub(crate) mod retry;

pub use self::client::shown;

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is none.
    #[error("`{endpoint}` is no endpoint: {why}")]
    Endpoint {
        /// As it was written, without what it may hold of secrets.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// A header cannot be sent.
    #[error("`{name}` cannot be sent as a header: {why}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with name or value.
        why: String,
    },
    /// A label cannot be sent with every series.
    #[error("`{name}` cannot be a label of every series: {why}")]
    Label {
        /// Its name.
        name: String,
        /// What is wrong with name or value.
        why: &'static str,
    },
    /// The certificates of whoever signs cannot be read.
    #[error("certificates cannot be read from `{file}`: {why}")]
    Ca {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
}
