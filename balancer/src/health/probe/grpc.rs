//! The gRPC probe: does the backend say of itself that it serves? (grpc.health.v1, over HTTP/2 as gRPC uses it.)

use std::pin::pin;

use futures_util::future::{self, BoxFuture, Either};
use h2::client::{self, SendRequest};
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT},
    http,
};
use prost::Message as _;

use super::{AGENT, Failure, Probe, stream, tls::TlsClient};
use crate::{config, health::Destination};

/// The status of the call that means that it went well.
const OK: &[u8] = b"0";

/// Which service is meant; none is the server as a whole.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Succeeds when the backend says that it serves.
pub(super) struct GrpcProbe {
    config: config::GrpcProbe,
    tls: Option<TlsClient>,
}

impl GrpcProbe {
    pub(super) fn new(config: &config::GrpcProbe) -> Self {
        let tls = |tls| TlsClient::new(tls, config.host.as_deref(), b"h2");
        Self {
            tls: config.tls.as_ref().map(tls),
            config: config.clone(),
        }
    }

    fn request(&self, destination: &Destination) -> Result<Request<()>, http::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = self.config.host.clone();
        let host = host.unwrap_or_else(|| destination.address.to_string());
        Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{host}/grpc.health.v1.Health/Check"))
            .header(TE, "trailers")
            .header(CONTENT_TYPE, "application/grpc")
            .header(USER_AGENT, AGENT)
            .body(())
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let request = self
            .request(destination)
            .map_err(|error| Failure::Request(error.to_string()))?;
        let stream = stream::open(destination, self.tls.as_ref(), 0).await?;
        let (sender, connection) = client::Builder::new().enable_push(false).handshake(stream).await?;
        let answer = pin!(self.call(sender, request));
        match future::select(answer, pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            // The connection's end, good or bad, is handed to the call that was waiting for it.
            Either::Right((_, answer)) => answer.await,
        }
    }

    async fn call(&self, sender: SendRequest<Bytes>, request: Request<()>) -> Result<(), Failure> {
        let (response, mut call) = sender.ready().await?.send_request(request, false)?;
        let message = HealthCheckRequest {
            service: self.config.service.clone(),
        };
        call.send_data(framed(&message.encode_to_vec())?, true)?;
        let response = response.await?;
        if response.status() != http::StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let (head, mut body) = response.into_parts();
        let mut answer = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?;
        // A call that fails before it has an answer ends with its header.
        went_well(trailers.as_ref().unwrap_or(&head.headers))?;
        judge(&answer)
    }
}

impl Probe for GrpcProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}

/// A message as gRPC sends it: not compressed, its length in front.
fn framed(message: &[u8]) -> Result<Bytes, Failure> {
    let length = u32::try_from(message.len()).map_err(|error| Failure::Request(error.to_string()))?;
    Ok([&[0], &length.to_be_bytes()[..], message].concat().into())
}

/// Whether the call, of which these are the trailers, went well.
fn went_well(trailers: &HeaderMap) -> Result<(), Failure> {
    let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    match trailers.get("grpc-status") {
        Some(status) if status == OK => Ok(()),
        Some(status) => {
            let message = trailers.get("grpc-message").map(shown).unwrap_or_default();
            Err(Failure::Grpc(
                format!("{} {message:.60}", shown(status)).trim_end().to_owned(),
            ))
        }
        None => Err(Failure::Malformed("no gRPC status".to_owned())),
    }
}

/// What the backend says of itself.
fn judge(answer: &[u8]) -> Result<(), Failure> {
    let malformed = |what: &str| Failure::Malformed(format!("{what} of gRPC"));
    let (head, message) = answer.split_first_chunk::<5>().ok_or_else(|| malformed("no message"))?;
    let [0, length @ ..] = *head else {
        return Err(malformed("compressed message"));
    };
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(malformed("wrong length of the message"));
    }
    let response = HealthCheckResponse::decode(message).map_err(|error| malformed(&error.to_string()))?;
    let status = match response.status() {
        ServingStatus::Serving => return Ok(()),
        ServingStatus::Unknown => "UNKNOWN",
        ServingStatus::NotServing => "NOT_SERVING",
        ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
    };
    Err(Failure::NotServing(status))
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        match error.get_io() {
            Some(io) => Self::from(io),
            None => Self::Malformed(error.to_string()),
        }
    }
}
