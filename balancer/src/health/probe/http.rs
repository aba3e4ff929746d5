//! The HTTP probe: does the backend answer a request, in plain text or under TLS, as it should?

use std::{error::Error, io, net::SocketAddr, pin::pin};

use futures_util::future::{self, BoxFuture, Either};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
    http,
};
use hyper_util::rt::TokioIo;

use super::{
    AGENT, Failure, Probe,
    pattern::Pattern,
    stream::{self, Stream},
    tls::TlsClient,
};
use crate::{config, health::Destination};

/// Bytes of a body that are looked at.
const MAX_BODY: usize = 64 * 1024;
/// Succeeds when the header of the answer is complete, its status is in the range, and the body has what it must. A body
/// that need not have anything is not read.
pub(super) struct HttpProbe {
    config: config::HttpProbe,
    tls: Option<TlsClient>,
    body: Option<Pattern>,
}

impl HttpProbe {
    pub(super) fn new(config: &config::HttpProbe) -> Self {
        let tls = |tls| TlsClient::new(tls, config.host.as_deref(), b"http/1.1");
        Self {
            tls: config.tls.as_ref().map(tls),
            body: config.expect_body.as_ref().map(Pattern::new),
            config: config.clone(),
        }
    }

    /// The request to `target`, as RFC 9112 section 3 has it.
    fn request(&self, target: SocketAddr) -> Result<Request<Empty<Bytes>>, http::Error> {
        let host = self.config.host.clone().unwrap_or_else(|| target.to_string());
        let request = Request::builder()
            .method(&*self.config.method)
            .uri(&*self.config.path)
            .header(HOST, host)
            .header(CONNECTION, "close");
        let named = |name: &str| self.config.headers.iter().any(|(header, _)| header == name);
        let request = if named(USER_AGENT.as_str()) {
            request
        } else {
            request.header(USER_AGENT, AGENT)
        };
        let headers = self.config.headers.iter();
        headers
            .fold(request, |request, (name, value)| request.header(name, value))
            .body(Empty::new())
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let request = self
            .request(destination.address)
            .map_err(|error| Failure::Request(error.to_string()))?;
        let body = self.body.as_ref().map_or(0, |_| MAX_BODY);
        let stream = stream::open(destination, self.tls.as_ref(), body).await?;
        self.exchange(stream, request).await
    }

    /// Sends `request` and judges the answer.
    async fn exchange(&self, stream: impl Stream, request: Request<Empty<Bytes>>) -> Result<(), Failure> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = pin!(async {
            let response = sender.send_request(request).await?;
            self.judge(response).await
        });
        // A shutdown would end the connection in order, which `socket::connect` means to avoid.
        let connection = pin!(connection.without_shutdown());
        match future::select(answer, connection).await {
            Either::Left((answer, _)) => answer,
            // Hyper hands the connection's end, good or bad, to the request or body that was waiting for it.
            Either::Right((_, answer)) => answer.await,
        }
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let status = response.status().as_u16();
        let (lowest, highest) = self.config.expect_status;
        if !(lowest..=highest).contains(&status) {
            return Err(Failure::Status(status));
        }
        match &self.body {
            Some(pattern) => pattern.demand(&beginning(response.into_body()).await?),
            None => Ok(()),
        }
    }
}

impl Probe for HttpProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}

/// As much of `body` as is looked at.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut beginning = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = MAX_BODY - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
        if beginning.len() == MAX_BODY {
            break;
        }
    }
    Ok(beginning)
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let root = root_cause(&error);
        if let Some(io) = root.downcast_ref::<io::Error>() {
            return Self::from(io);
        }
        match root.downcast_ref::<hyper::Error>() {
            Some(error) if !error.is_incomplete_message() => Self::Malformed(error.to_string()),
            // A connection that ends before the request is sent cancels the request, with a mere text for a cause.
            _ => Self::ClosedEarly,
        }
    }
}

fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, root_cause)
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
        time,
    };

    use super::*;
    use crate::health::probe::{
        loopback::{self, Server},
        within,
    };

    /// For answers that come: more than they take on a loaded machine.
    const AMPLE: Duration = Duration::from_secs(30);
    /// For answers that don't.
    const SHORT: Duration = Duration::from_millis(100);

    fn http_probe() -> HttpProbe {
        HttpProbe::new(&config::HttpProbe {
            tls: None,
            method: "GET".into(),
            path: "/health?deep=1".into(),
            host: None,
            headers: vec![],
            expect_status: (204, 299),
            expect_body: None,
        })
    }

    async fn probe(target: SocketAddr, timeout: Duration) -> Result<(), Failure> {
        within(timeout, &http_probe(), &loopback::destination(target)).await
    }

    /// A server that reads a request, sends `reply` as it is, and nothing more.
    async fn replying(reply: impl Into<Vec<u8>>) -> Server<Vec<String>> {
        let reply = reply.into();
        loopback::serve(move |stream| {
            let reply = reply.clone();
            async move {
                let mut stream = BufStream::new(stream);
                let request = loopback::read_request(&mut stream).await.unwrap();
                // The probe may be gone before a long reply is through.
                let _: io::Result<()> = async {
                    stream.write_all(&reply).await?;
                    stream.shutdown().await?;
                    stream.fill_buf().await.map(drop)
                }
                .await;
                request
            }
        })
        .await
    }

    #[tokio::test]
    async fn a_status_in_the_range_and_no_other_is_a_success() {
        for (status, expected) in [
            (200, false),
            (204, true),
            (299, true),
            (300, false),
            (404, false),
            (503, false),
        ] {
            let server = replying(format!("HTTP/1.1 {status} Whatever\r\n\r\n")).await;
            match probe(server.address, AMPLE).await {
                Ok(()) => assert!(expected, "{status} was a success"),
                Err(Failure::Status(seen)) => assert!(!expected && seen == status, "saw {seen} for {status}"),
                Err(failure) => panic!("{failure:?} for {status}"),
            }
        }
    }

    #[tokio::test]
    async fn the_request_names_its_host_and_sender_and_ends_the_connection() {
        let mut server = replying("HTTP/1.1 204 No Content\r\n\r\n").await;
        probe(server.address, AMPLE).await.unwrap();
        assert_eq!(
            server.served().await,
            [
                "GET /health?deep=1 HTTP/1.1".to_owned(),
                format!("host: {}", server.address),
                "connection: close".to_owned(),
                format!("user-agent: balancer/{}", env!("CARGO_PKG_VERSION")),
            ]
        );
    }

    #[test]
    fn the_host_is_the_configured_one_or_else_the_address() {
        let cases = [
            (None, "192.0.2.1:80", "192.0.2.1:80"),
            (None, "[2001:db8::1]:8080", "[2001:db8::1]:8080"),
            (Some("www.example.com"), "192.0.2.1:80", "www.example.com"),
        ];
        for (host, target, expected) in cases {
            let mut probe = http_probe();
            probe.config.host = host.map(str::to_owned);
            let request = probe.request(target.parse().unwrap()).unwrap();
            assert_eq!(request.headers()[HOST], expected);
        }
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_sent_fails_without_a_connection() {
        let mut probe = http_probe();
        probe.config.path = "/with space".into();
        let (address, _held) = loopback::closed_port();
        let failure = probe.probe(&loopback::destination(address)).await.unwrap_err();
        assert!(matches!(failure, Failure::Request(_)), "{failure:?}");
    }

    #[tokio::test]
    async fn a_reply_without_a_sound_header_is_a_failure() {
        let cases = [
            (String::new(), "connection closed early"),
            ("HTTP/1.1 204 No".into(), "connection closed early"),
            (
                "HTTP/1.1 204 No Content\r\nServer: x\r\n".into(),
                "connection closed early",
            ),
            (
                "SSH-2.0-Server\r\n".into(),
                "malformed reply: invalid HTTP version parsed",
            ),
            (
                "HTTP/1.1 2x4 No Content\r\n\r\n".into(),
                "malformed reply: invalid HTTP status-code parsed",
            ),
            (
                "HTTP/1.1 204 No Content\r\n: x\r\n\r\n".into(),
                "malformed reply: invalid HTTP header parsed",
            ),
            (
                format!("HTTP/1.1 204 No Content\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
                "no complete reply in 16384 bytes",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000),
                "no complete reply in 16384 bytes",
            ),
        ];
        for (reply, expected) in cases {
            let server = replying(reply.as_str()).await;
            let failure = probe(server.address, AMPLE).await.expect_err(expected);
            assert_eq!(failure.to_string(), expected, "{reply:.60}");
        }
    }

    #[tokio::test]
    async fn a_long_body_does_not_matter() {
        let server = replying(format!("HTTP/1.1 299 Fine\r\n\r\n{}", "x".repeat(100_000))).await;
        probe(server.address, AMPLE).await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_in_the_middle_of_a_reply_is_a_failure() {
        let server = loopback::serve(|stream| async {
            stream.set_zero_linger().unwrap();
            let mut stream = BufStream::new(stream);
            loopback::read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No").await.unwrap();
            stream.flush().await.unwrap();
        })
        .await;
        let failure = probe(server.address, AMPLE).await.unwrap_err();
        assert!(matches!(failure, Failure::Reset), "{failure:?}");
    }

    #[tokio::test]
    async fn the_connection_ends_with_a_reset() {
        let mut server = loopback::serve(|stream| async {
            let mut stream = BufStream::new(stream);
            loopback::read_request(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            stream.read_u8().await
        })
        .await;
        probe(server.address, AMPLE).await.unwrap();
        let end = server.served().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_connection_closed_at_once_is_a_failure() {
        let server = loopback::serve(|stream| async { drop(stream) }).await;
        // Who is first differs from time to time; which failure it is with it.
        for _ in 0..200 {
            let failure = probe(server.address, AMPLE).await.unwrap_err();
            assert!(matches!(failure, Failure::ClosedEarly | Failure::Reset), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_backend_that_speaks_or_leaves_before_it_is_asked_fails() {
        let cases = [
            ("", "connection closed early"),
            (
                "HTTP/1.1 204 No Content\r\n\r\n",
                "malformed reply: received unexpected message from connection",
            ),
        ];
        for (greeting, expected) in cases {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(greeting.as_bytes()).await.unwrap();
            drop(far);
            let probe = http_probe();
            let request = probe.request(([192, 0, 2, 1], 80).into()).unwrap();
            let failure = probe.exchange(near, request).await.unwrap_err();
            assert_eq!(failure.to_string(), expected, "{greeting}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_refusal() {
        let (address, _held) = loopback::closed_port();
        let failure = probe(address, AMPLE).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused), "{failure:?}");
    }

    #[tokio::test]
    async fn a_backend_that_never_answers_times_out() {
        let server = loopback::serve(|stream| async {
            let _open = stream;
            future::pending::<()>().await;
        })
        .await;
        let failure = probe(server.address, SHORT).await.unwrap_err();
        assert!(matches!(failure, Failure::TimedOut), "{failure:?}");
    }

    #[tokio::test]
    async fn the_timeout_covers_the_whole_reply() {
        // Each byte comes in time, all of them don't.
        let server = loopback::serve(|mut stream| async move {
            for byte in b"HTTP/1.1 204 No Content\r\n\r\n" {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                time::sleep(SHORT / 10).await;
            }
        })
        .await;
        let failure = probe(server.address, SHORT).await.unwrap_err();
        assert!(matches!(failure, Failure::TimedOut), "{failure:?}");
    }
}
