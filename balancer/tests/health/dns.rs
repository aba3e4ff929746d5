//! DNS servers, whose responses are put together by hand from RFC 1035.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    datagrams::Datagrams,
    harness::{Backend, probe},
};

const QUERY: &str = "kind = 'dns'\nquery = 'www.example.com'\ntimeout = '1s'";

/// The question that [`QUERY`] has for records of a type below 256.
fn question(record_type: u8) -> Vec<u8> {
    [&b"\x03www\x07example\x03com\x00\x00"[..], &[record_type, 0, 1]].concat()
}

/// A response to `query` with this code and these answers, each a type and its data.
pub(crate) fn respond(query: &[u8], rcode: u8, answers: &[(u8, &[u8])]) -> Vec<u8> {
    let (id, question) = (&query[..2], &query[12..]);
    let count = u8::try_from(answers.len()).unwrap();
    let mut response = [id, &[0x81, 0x80 | rcode, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
    for (record_type, data) in answers {
        let length = u8::try_from(data.len()).unwrap();
        // The name is the one at offset 12, the class IN, the time to live a minute.
        response.extend([0xc0, 12, 0, *record_type, 0, 1, 0, 0, 0, 60, 0, length]);
        response.extend(*data);
    }
    response
}

/// 192.0.2.1, behind an alias.
const ADDRESS: &[(u8, &[u8])] = &[(5, b"\x03web\xc0\x10"), (1, &[192, 0, 2, 1])];
const ALIAS: &[(u8, &[u8])] = &[(5, b"\x03web\xc0\x10")];
const TEXT: &[(u8, &[u8])] = &[(16, b"\x05ready")];

pub(crate) fn serves(query: &[u8]) -> Vec<Vec<u8>> {
    vec![respond(query, 0, ADDRESS)]
}

pub(crate) fn fails(query: &[u8]) -> Vec<Vec<u8>> {
    vec![respond(query, 2, &[])]
}

#[tokio::test]
async fn code_and_answer_must_be_the_expected_ones() {
    type Answers = &'static [(u8, &'static [u8])];
    type Case<'a> = (&'a str, u8, u8, Answers, Result<(), &'a str>);
    let cases: [Case<'_>; 10] = [
        ("", 1, 0, ADDRESS, Ok(())),
        ("", 1, 0, &[], Ok(())),
        ("", 1, 2, &[], Err("DNS response SERVFAIL")),
        ("", 1, 3, &[], Err("DNS response NXDOMAIN")),
        ("expect_rcode = 'NXDOMAIN'", 1, 3, &[], Ok(())),
        ("expect_answer = '192.0.2.1'", 1, 0, ADDRESS, Ok(())),
        (
            "expect_answer = '192.0.2.2'",
            1,
            0,
            ADDRESS,
            Err(r#"unexpected answer "192.0.2.1""#),
        ),
        (
            "expect_answer = '192.0.2.1'",
            1,
            0,
            ALIAS,
            Err(r#"unexpected answer """#),
        ),
        (
            "query_type = 'CNAME'\nexpect_answer = 'Web.example.com.'",
            5,
            0,
            ALIAS,
            Ok(()),
        ),
        ("query_type = 'TXT'\nexpect_answer = 'ready'", 16, 0, TEXT, Ok(())),
    ];
    for (lines, record_type, rcode, answers, expected) in cases {
        let backend = Datagrams::start(move |query| {
            // Recursion is desired, and nothing but the question sent.
            assert_eq!(query[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(query[12..], question(record_type));
            vec![respond(query, rcode, answers)]
        })
        .await;
        let outcome = probe(&format!("{QUERY}\n{lines}"), backend.address).await;
        assert_eq!(outcome, expected.map_err(str::to_owned), "{lines}");
    }
}

#[tokio::test]
async fn what_is_no_response_to_the_query_is_passed_over() {
    let backend = Datagrams::start(|query| {
        let response = respond(query, 0, ADDRESS);
        let with = |place: usize, change: u8| {
            let mut response = response.clone();
            response[place] ^= change;
            response
        };
        let (other_id, a_query, other_name) = (with(1, 1), with(2, 0x80), with(14, 1));
        vec![
            other_id,
            a_query,
            other_name,
            vec![],
            b"garbage".to_vec(),
            respond(query, 5, &[]),
        ]
    })
    .await;
    assert_eq!(
        probe(QUERY, backend.address).await,
        Err("DNS response REFUSED".to_owned())
    );
}

#[tokio::test]
async fn answers_that_make_no_sense_are_a_failure() {
    // An address of three bytes, and a record that ends early.
    for cut in [0, 2] {
        let backend = Datagrams::start(move |query| {
            let mut response = respond(query, 0, &[(1, &[192, 0, 2])]);
            response.truncate(response.len() - cut);
            vec![response]
        })
        .await;
        let lines = format!("{QUERY}\nexpect_answer = '192.0.2.1'");
        let failure = probe(&lines, backend.address).await.unwrap_err();
        assert!(failure.starts_with("malformed reply: "), "{failure}");
    }
}

#[tokio::test]
async fn tcp_does_as_well() {
    let backend = Backend::start(|mut stream| async move {
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        let response = respond(&query, 0, ADDRESS);
        stream.write_u16(u16::try_from(response.len()).unwrap()).await?;
        for piece in response.chunks(7) {
            stream.write_all(piece).await?;
        }
        stream.read_u8().await.map(drop)
    })
    .await;
    let lines = format!("{QUERY}\ntransport = 'tcp'\nexpect_answer = '192.0.2.1'");
    assert_eq!(probe(&lines, backend.address).await, Ok(()));
}

#[tokio::test]
async fn a_tcp_server_that_ends_early_or_speaks_of_something_else_fails() {
    for (answer, expected) in [
        (&b""[..], "connection closed early"),
        (b"\x00\x20half", "connection closed early"),
        (b"\x00\x04else", "malformed reply: no response to the query"),
    ] {
        let backend = Backend::start(move |mut stream| async move {
            let mut query = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut query).await?;
            stream.write_all(answer).await
        })
        .await;
        let outcome = probe(&format!("{QUERY}\ntransport = 'tcp'"), backend.address).await;
        assert_eq!(outcome, Err(expected.to_owned()));
    }
}
