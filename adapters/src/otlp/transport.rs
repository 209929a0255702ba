//! Speaks to a collector, by gRPC or by protobuf over HTTP, as the protocol's specification says
//! (<https://opentelemetry.io/docs/specs/otlp/>).

use std::path::PathBuf;

use bytes::{Buf as _, BufMut as _, Bytes};
use reqwest::header::CONTENT_TYPE;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
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
        if endpoint.contains(['?', '#']) {
            return Err(client::wrong(
                endpoint,
                "paths are appended to it: leave the query out, and send tokens in `headers`",
            ));
        }
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
        let signal = payload.signal;
        let answer = match self {
            Self::Grpc(channel, metadata) => {
                let mut request = tonic::Request::new(payload.body.clone());
                *request.metadata_mut() = metadata.clone();
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.map_err(|error| retry::of_grpc(&tonic::Status::from_error(error.into())))?;
                let answer = client.unary(request, signal.method(), Encoded).await;
                answer.map_err(|status| retry::of_grpc(&status))?.into_inner()
            }
            Self::Http(client, endpoint) => {
                let url = format!("{}/v1/{}", endpoint.trim_end_matches('/'), signal.name());
                let request = client.post(url).header(CONTENT_TYPE, "application/x-protobuf");
                client::send(request.body(payload.body.clone()), Protocol::Otlp).await?.into()
            }
        };
        // Some collectors answer with an empty body or JSON: what was taken was taken.
        Ok(payload::accepted(signal, answer).unwrap_or_default())
    }
}

/// Messages that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

fn grpc(options: &OtlpOptions) -> Result<Endpoint, ExportError> {
    let endpoint = &options.endpoint;
    client::check(endpoint)?;
    let described = |error: tonic::transport::Error| client::wrong(endpoint, causes(&error));
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
    let file =
        file.ok_or_else(|| client::wrong(endpoint, "the system trusts no certificates: name a file (`tls.ca`)"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(client::read(&file)?));
    channel.tls_config(tls).map_err(described)
}
