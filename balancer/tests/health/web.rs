//! What a web server can do, in plain text or under TLS.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream},
    net::TcpStream,
    time,
};

use crate::harness::{Backend, probe};

/// Reads the header of a request and returns it.
pub(crate) async fn request(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if stream.read_line(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(request)
}

/// Answers one request and waits for the client to go.
pub(crate) async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, reply: &str) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    request(&mut stream).await?;
    stream.write_all(reply.as_bytes()).await?;
    stream.flush().await?;
    stream.fill_buf().await.map(drop)
}

pub(crate) fn reply(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub(crate) async fn serves(stream: TcpStream) -> io::Result<()> {
    answer(stream, &reply("200 OK", "all is well")).await
}

pub(crate) async fn serves_at_once(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(reply("200 OK", "all is well").as_bytes()).await
}

pub(crate) async fn is_overloaded(stream: TcpStream) -> io::Result<()> {
    answer(stream, &reply("503 Service Unavailable", "all is well")).await
}

pub(crate) async fn says_something_else(stream: TcpStream) -> io::Result<()> {
    answer(stream, &reply("200 OK", "maintenance")).await
}

pub(crate) async fn never_answers(stream: TcpStream) -> io::Result<()> {
    let _open = stream;
    std::future::pending().await
}

pub(crate) async fn resets_in_the_middle(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()?;
    let mut stream = BufStream::new(stream);
    request(&mut stream).await?;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall")
        .await?;
    stream.flush().await
}

pub(crate) async fn closes_in_the_middle(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    request(&mut stream).await?;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall")
        .await?;
    stream.shutdown().await
}

/// Sends each byte in time, but all of them only in a minute.
pub(crate) async fn drips(mut stream: TcpStream) -> io::Result<()> {
    for byte in reply("200 OK", &"all is well ".repeat(100)).bytes() {
        stream.write_all(&[byte]).await?;
        time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn the_body_must_have_what_is_expected() {
    let backend = Backend::start(serves).await;
    for (expect, outcome) in [
        ("'is well'", Ok(())),
        ("{ regex = '^all.*well$' }", Ok(())),
        ("{ hex = '616c6c' }", Ok(())),
        ("'is ill'", Err(r#"unexpected answer "all is well""#.to_owned())),
        (
            "{ regex = '^well' }",
            Err(r#"unexpected answer "all is well""#.to_owned()),
        ),
    ] {
        let lines = format!("kind = 'http'\nexpect_body = {expect}");
        assert_eq!(probe(&lines, backend.address).await, outcome, "{expect}");
    }
}

#[tokio::test]
async fn only_the_beginning_of_a_long_body_counts() {
    let backend = Backend::start(|stream| async {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\nbeginning{}end", "x".repeat(1 << 20));
        answer(stream, &endless).await
    })
    .await;
    for (expect, found) in [("beginning", true), ("end", false)] {
        let outcome = probe(&format!("kind = 'http'\nexpect_body = '{expect}'"), backend.address).await;
        assert_eq!(outcome.is_ok(), found, "{expect}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_request_is_the_configured_one() {
    let backend = Backend::start(|stream| async {
        let mut stream = BufStream::new(stream);
        let request = request(&mut stream).await?;
        stream.write_all(reply("200 OK", &request).as_bytes()).await?;
        stream.flush().await?;
        stream.fill_buf().await.map(drop)
    })
    .await;
    let lines = "kind = 'http'\n\
                 method = 'OPTIONS'\n\
                 path = '/live?deep=1'\n\
                 host = 'www.example.com'\n\
                 headers = { X-Probe = 'yes', User-Agent = 'me' }\n";
    for part in [
        r"^OPTIONS /live\?deep=1 HTTP/1\.1\r\n",
        r"\r\nhost: www\.example\.com\r\n",
        r"\r\nx-probe: yes\r\n",
        r"\r\nuser-agent: me\r\n",
    ] {
        let lines = format!("{lines}expect_body = {{ regex = '{part}' }}");
        assert_eq!(probe(&lines, backend.address).await, Ok(()), "{part}");
    }
}
