//! TCP connections and what is said on them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Backend, Outcome, probe};

#[tokio::test]
async fn an_accepted_connection_is_enough_where_nothing_is_expected() {
    let backend = Backend::start(|_stream| async { Ok(()) }).await;
    assert_eq!(probe("kind = 'tcp'", backend.address).await, Ok(()));
}

#[tokio::test]
async fn what_is_expected_may_come_in_pieces_and_in_the_middle() {
    let backend = Backend::start(|mut stream| async move {
        stream.set_nodelay(true)?;
        for piece in ["220-welcome\r\n22", "0 re", "ady\r\n and more"] {
            stream.write_all(piece.as_bytes()).await?;
            tokio::task::yield_now().await;
        }
        stream.read_u8().await.map(drop)
    })
    .await;
    for expect in ["'220 ready'", "{ regex = '220 r\\w+y' }", "{ hex = '32 32 30 20 72' }"] {
        let lines = format!("kind = 'tcp'\nexpect = {expect}");
        assert_eq!(probe(&lines, backend.address).await, Ok(()), "{expect}");
    }
}

#[tokio::test]
async fn what_is_sent_is_answered() {
    let backend = Backend::start(|mut stream| async move {
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        let answer = if request == *b"\x00PI\xff" { "PONG" } else { "-ERR" };
        stream.write_all(answer.as_bytes()).await
    })
    .await;
    let ask = |send| probe_with(send, backend.address);
    assert_eq!(ask("{ hex = '005049ff' }").await, Ok(()));
    assert_eq!(ask("'PING'").await, Err(r#"unexpected answer "-ERR""#.to_owned()));
}

async fn probe_with(send: &str, address: SocketAddr) -> Outcome {
    probe(&format!("kind = 'tcp'\nsend = {send}\nexpect = 'PONG'"), address).await
}

#[tokio::test]
async fn an_end_before_what_is_expected_is_a_failure() {
    let silent = Backend::start(|_stream| async { Ok(()) }).await;
    let resets = Backend::start(|mut stream| async move {
        stream.set_zero_linger()?;
        stream.write_all(b"+PO").await
    })
    .await;
    let talks = Backend::start(|mut stream| async move {
        let chatter = vec![b'x'; 64 * 1024];
        stream.write_all(&chatter).await
    })
    .await;
    for (backend, expected) in [
        (silent, "connection closed early"),
        (resets, "connection reset"),
        (talks, "no complete reply in 16384 bytes"),
    ] {
        let lines = "kind = 'tcp'\nexpect = '+PONG'";
        assert_eq!(probe(lines, backend.address).await, Err(expected.to_owned()));
    }
}
