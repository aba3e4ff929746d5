//! Servers of the health protocol of gRPC, whose messages are put together by hand.

use std::io;

use h2::{SendStream, server};
use hyper::{
    HeaderMap, Request, Response,
    body::Bytes,
    http::{StatusCode, Version},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    certificates::{Authority, NAME},
    harness::{Backend, probe},
    web,
};

/// Messages with field 1, a status, and their gRPC frame.
pub(crate) const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];
pub(crate) const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 2];

/// Answers a call with this message and this status.
pub(crate) async fn answers(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    message: &'static [u8],
    status: &'static str,
) -> io::Result<()> {
    serve(stream, |_, body| {
        body.send_data(message.into(), false)?;
        body.send_trailers(HeaderMap::from_iter([(
            "grpc-status".parse().unwrap(),
            status.parse().unwrap(),
        )]))
    })
    .await
}

/// Deals with each call on a connection once its message has come.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: impl Fn(&[u8], &mut SendStream<Bytes>) -> Result<(), h2::Error>,
) -> io::Result<()> {
    let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
    let Some(call) = connection.accept().await else {
        return Ok(());
    };
    let (request, mut respond) = call.map_err(io::Error::other)?;
    assert_eq!(
        (request.version(), request.method().as_str()),
        (Version::HTTP_2, "POST")
    );
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let conversation = async {
        let message = body(request).await?;
        let mut body = respond.send_response(Response::new(()), false)?;
        reply(&message, &mut body)
    };
    // The connection must be driven for anything to arrive or leave.
    tokio::select! {
        biased;
        result = conversation => result.map_err(io::Error::other)?,
        _ = connection.accept() => return Ok(()),
    }
    while connection.accept().await.is_some() {}
    Ok(())
}

async fn body(request: Request<h2::RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        message.extend(data?);
    }
    Ok(message)
}

#[tokio::test]
async fn only_a_server_that_says_that_it_serves_is_up() {
    for (message, status, outcome) in [
        (SERVING, "0", Ok(())),
        (NOT_SERVING, "0", Err("NOT_SERVING by its own account")),
        (
            &[0, 0, 0, 0, 2, 0x08, 3],
            "0",
            Err("SERVICE_UNKNOWN by its own account"),
        ),
        // A status that is left out is zero.
        (&[0, 0, 0, 0, 0], "0", Err("UNKNOWN by its own account")),
        (SERVING, "13", Err("gRPC status 13")),
        (&[], "0", Err("malformed reply: no message of gRPC")),
        (
            &[1, 0, 0, 0, 2, 0x08, 1],
            "0",
            Err("malformed reply: compressed message of gRPC"),
        ),
        (
            &[0, 0, 0, 0, 3, 0x08, 1],
            "0",
            Err("malformed reply: wrong length of the message of gRPC"),
        ),
    ] {
        let backend = Backend::start(move |stream| answers(stream, message, status)).await;
        let expected = outcome.map_err(str::to_owned);
        assert_eq!(probe("kind = 'grpc'", backend.address).await, expected, "{message:?}");
    }
}

#[tokio::test]
async fn the_configured_service_is_asked_about() {
    let backend = Backend::start(|stream| {
        serve(stream, |message, body| {
            assert_eq!(message, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
            body.send_data(SERVING.into(), false)?;
            body.send_trailers(HeaderMap::from_iter([(
                "grpc-status".parse().unwrap(),
                "0".parse().unwrap(),
            )]))
        })
    })
    .await;
    let lines = "kind = 'grpc'\ngrpc_service = 'shop.Cart'";
    assert_eq!(probe(lines, backend.address).await, Ok(()));
}

/// Answers with a header and nothing else.
async fn only_head(stream: TcpStream, status: u16, headers: &[(&'static str, &str)]) -> io::Result<()> {
    let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        respond.send_response(response, true).map_err(io::Error::other)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_fails_at_once_says_why() {
    let unknown = Backend::start(|stream| {
        only_head(
            stream,
            200,
            &[("grpc-status", "5"), ("grpc-message", "unknown service")],
        )
    })
    .await;
    let overloaded = Backend::start(|stream| only_head(stream, 503, &[])).await;
    let mute = Backend::start(|stream| only_head(stream, 200, &[])).await;
    let web = Backend::start(web::serves_at_once).await;
    for (backend, expected) in [
        (unknown, "gRPC status 5 unknown service"),
        (overloaded, "status 503"),
        (mute, "malformed reply: no gRPC status"),
        (web, "malformed reply: "),
    ] {
        let failure = probe("kind = 'grpc'", backend.address).await.unwrap_err();
        assert!(failure.starts_with(expected), "{failure} instead of {expected}");
    }
}

#[tokio::test]
async fn grpc_may_go_over_tls() {
    let authority = Authority::new("one");
    let acceptor = authority.server(2100, b"h2");
    let backend = Backend::start(move |stream| {
        let acceptor = acceptor.clone();
        async move { answers(acceptor.accept(stream).await?, SERVING, "0").await }
    })
    .await;
    let lines = format!("kind = 'grpc'\ntls = true\nhost = '{NAME}'\n{}", authority.line());
    assert_eq!(probe(&lines, backend.address).await, Ok(()));
    let failure = probe("kind = 'grpc'\ntls = true", backend.address).await.unwrap_err();
    assert!(failure.contains("UnknownIssuer"), "{failure}");
    probe("kind = 'grpc'", backend.address).await.unwrap_err();
}
