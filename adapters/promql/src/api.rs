//! The pure parts of Prometheus' HTTP API: what requests ask, and what responses hold.
//!
//! Who serves it decodes the parameters of URL and form with [`Parameters::decode`], reads them with one of the requests below, and
//! answers with [`Envelope`], whose [`Envelope::status`] is the response's status code.

mod catalog;
mod envelope;
mod parameters;
mod requests;
mod time;

pub use self::catalog::{BuildInfo, Exemplar, ExemplarSeries, MetricMetadata, MetricType, label_names, label_values};
pub use self::envelope::Envelope;
pub use self::parameters::Parameters;
pub use self::requests::{ExemplarsRequest, InstantRequest, RangeRequest, SeriesRequest, check_label_name};
pub use self::time::{parse_duration, parse_time};
