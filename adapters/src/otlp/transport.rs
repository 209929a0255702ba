//! Speaks to a collector, by gRPC or by protobuf over HTTP, as the protocol's specification says
//! (<https://opentelemetry.io/docs/specs/otlp/>).

use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use reqwest::header::CONTENT_TYPE;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::options::{OtlpOptions, OtlpProtocol};
use super::payload::{self, Payload};
use crate::export::ExportError;
use crate::export::client::{self, CONNECT_TIMEOUT, TIMEOUT, USER_AGENT, causes};
use crate::export::outbox::{Accepted, Transport};
use crate::export::retry::{self, Failure, Protocol};

/// Where systems keep the certificates that they trust.
const SYSTEM_CAS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A way to a collector that was checked, and is not open yet: that takes a runtime.
#[derive(Debug)]
pub(super) enum Checked {
    Grpc(Box<Endpoint>, MetadataMap),
    Http(reqwest::Client, String),
}

/// A way to a collector. It connects when there is something to send.
#[derive(Debug)]
pub(super) enum Open {
    Grpc(Channel, MetadataMap),
    Http(reqwest::Client, String),
}

impl Checked {
    pub(super) fn new(options: &OtlpOptions) -> Result<Self, ExportError> {
        let OtlpOptions { endpoint, ca, .. } = options;
        let headers = client::headers(&options.headers)?;
        match options.protocol {
            OtlpProtocol::Grpc => Ok(Self::Grpc(Box::new(grpc(options)?), MetadataMap::from_headers(headers))),
            OtlpProtocol::Http => Ok(Self::Http(client::new(endpoint, ca.as_deref(), headers)?, endpoint.clone())),
        }
    }

    pub(super) fn open(self) -> Open {
        match self {
            Self::Grpc(endpoint, metadata) => Open::Grpc(endpoint.connect_lazy(), metadata),
            Self::Http(client, endpoint) => Open::Http(client, endpoint),
        }
    }
}

impl Transport for Open {
    type Payload = Payload;

    async fn send(&self, payload: &Payload) -> Result<Accepted, Failure> {
        match self {
            Self::Grpc(channel, metadata) => {
                let (channel, metadata) = (channel.clone(), metadata.clone());
                let answer = match payload.clone() {
                    Payload::Logs(message) => {
                        let answer = LogsServiceClient::new(channel).export(request(message, metadata)).await;
                        answer.map(|answer| answer.into_inner().into())
                    }
                    Payload::Metrics(message) => {
                        let answer = MetricsServiceClient::new(channel).export(request(message, metadata)).await;
                        answer.map(|answer| answer.into_inner().into())
                    }
                    Payload::Traces(message) => {
                        let answer = TraceServiceClient::new(channel).export(request(message, metadata)).await;
                        answer.map(|answer| answer.into_inner().into())
                    }
                };
                answer.map_err(|status| retry::of_grpc(&status))
            }
            Self::Http(client, endpoint) => {
                let signal = payload.signal();
                let url = format!("{}/v1/{}", endpoint.trim_end_matches('/'), signal.name());
                let request = client.post(url).header(CONTENT_TYPE, "application/x-protobuf");
                let body = client::send(request.body(payload.encode()), Protocol::Otlp).await?;
                // Some collectors answer with an empty body or JSON: what was taken was taken.
                Ok(payload::accepted(signal, body.into()).unwrap_or_default())
            }
        }
    }
}

fn request<T>(message: T, metadata: MetadataMap) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata;
    request
}

fn grpc(options: &OtlpOptions) -> Result<Endpoint, ExportError> {
    let endpoint = &options.endpoint;
    client::check(endpoint)?;
    let wrong = |why: String| ExportError::Endpoint { endpoint: endpoint.clone(), why };
    let described = |error: tonic::transport::Error| wrong(causes(&error));
    let channel = Endpoint::from_shared(endpoint.clone()).map_err(described)?;
    let channel = channel.connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
    let channel = channel.user_agent(USER_AGENT).map_err(described)?;
    if channel.uri().scheme_str() != Some("https") {
        return Ok(channel);
    }
    let system = || {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        named.into_iter().chain(SYSTEM_CAS.map(PathBuf::from)).find(|file| file.exists())
    };
    let file = options.ca.clone().or_else(system);
    let file = file.ok_or_else(|| wrong("the system trusts no certificates: name a file (`tls.ca`)".to_owned()))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(client::read(&file)?));
    channel.tls_config(tls).map_err(described)
}
