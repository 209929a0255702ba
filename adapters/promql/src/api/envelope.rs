//! The body of every response.

use serde::Serialize;

use crate::error::{Error, ErrorType};

/// `{"status":"success","data":..}` or `{"status":"error","errorType":..,"error":..}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Envelope<T> {
    /// What was asked for.
    Success {
        /// The answer.
        data: T,
        /// What the client should know about it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// Why it was not given.
    Error {
        /// Kind of the error.
        #[serde(rename = "errorType")]
        error_type: ErrorType,
        /// For a person.
        error: String,
    },
}

impl<T> Envelope<T> {
    /// Status code of the HTTP response.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Success { .. } => 200,
            Self::Error { error_type, .. } => error_type.status(),
        }
    }
}

impl<T> From<Result<T, Error>> for Envelope<T> {
    fn from(result: Result<T, Error>) -> Self {
        match result {
            Ok(data) => Self::Success { data, warnings: Vec::new() },
            Err(error) => Self::Error { error_type: error.error_type(), error: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Labels};

    #[test]
    fn answers_and_errors_have_prometheus_shape() {
        let labels: Labels = [("__name__", "up"), ("job", "a")].into_iter().collect();
        let check = |answer: Result<Answer, Error>, status: u16, expected: &str| {
            let envelope = Envelope::from(answer);
            assert_eq!(serde_json::to_string(&envelope).unwrap(), expected);
            assert_eq!(envelope.status(), status);
        };
        check(
            Ok(Answer::Vector(1_435_781_451_781, vec![(labels.clone(), 1.0)])),
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1435781451.781,"1"]}]}}"#,
        );
        check(
            Ok(Answer::Matrix(vec![(labels, vec![(1000, f64::INFINITY), (2000, f64::NAN)])])),
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[1,"+Inf"],[2,"NaN"]]}]}}"#,
        );
        check(
            Ok(Answer::Scalar(1500, 2.0)),
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"2"]}}"#,
        );
        check(
            Ok(Answer::Text(1000, "a".to_owned())),
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#,
        );
        check(
            Err(Error::BadData("invalid promql query".to_owned())),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid promql query"}"#,
        );
        check(
            Err(Error::Timeout),
            503,
            r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#,
        );
    }
}
