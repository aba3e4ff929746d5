//! Datagrams, their answers and their refusals.

use crate::{
    datagrams::Datagrams,
    harness::{Watch, probe},
};

const ASK: &str = "kind = 'udp'\nsend = { hex = '00ff' }\nexpect = 'pong'\ntimeout = '2s'";
const LISTEN: &str = "kind = 'udp'\ntimeout = '200ms'";

pub(crate) fn answers(question: &[u8]) -> Vec<Vec<u8>> {
    let answer = if question == [0, 0xff] { "a pong" } else { "what?" };
    vec![answer.into()]
}

#[tokio::test]
async fn only_the_expected_answer_will_do_where_one_is_expected() {
    let backend = Datagrams::start(answers).await;
    assert_eq!(probe(ASK, backend.address).await, Ok(()));
    let other = ASK.replace("00ff", "00");
    assert_eq!(
        probe(&other, backend.address).await,
        Err(r#"unexpected answer "what?""#.to_owned())
    );
    let silent = Datagrams::start(|_| vec![]).await;
    assert_eq!(probe(ASK, silent.address).await, Err("timed out".to_owned()));
}

#[tokio::test]
async fn anything_but_a_refusal_will_do_where_nothing_is_expected() {
    let mut backend = Datagrams::start(answers).await;
    assert_eq!(probe(LISTEN, backend.address).await, Ok(()));
    backend.become_one_that(|_| vec![]).await;
    assert_eq!(probe(LISTEN, backend.address).await, Ok(()));
    backend.stop().await;
    for lines in [ASK, LISTEN] {
        assert_eq!(
            probe(lines, backend.address).await,
            Err("connection refused".to_owned())
        );
    }
}

#[tokio::test]
async fn a_lost_datagram_is_repeated_within_the_same_probe() {
    let mut questions = 0;
    let backend = Datagrams::start(move |question| {
        questions += 1;
        // Each first one is lost.
        if questions % 2 == 1 { vec![] } else { answers(question) }
    })
    .await;
    let mut watch = Watch::start(&format!("{ASK}\ninterval = '10ms'"), backend.address);
    for _ in 0..2 {
        assert_eq!(watch.outcome().await, Ok(()));
    }
}
