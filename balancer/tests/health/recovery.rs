//! However a backend fails, it is found down after as many probes as the threshold says, and up again likewise.

use std::net::SocketAddr;

use balancer::health::Health;

use crate::{
    datagrams::Datagrams,
    dns, grpc,
    harness::{Backend, Watch},
    udp, web,
};

const UNHEALTHY: usize = 3;
const HEALTHY: usize = 2;

/// A watch on a backend that is up.
async fn watch(lines: &str, address: SocketAddr) -> Watch {
    let timing = format!(
        "interval = '20ms'\ntimeout = '500ms'\nunhealthy_threshold = {UNHEALTHY}\nhealthy_threshold = {HEALTHY}"
    );
    let mut watch = Watch::start(&format!("{lines}\n{timing}"), address);
    let (verdict, outcomes) = watch.verdict().await;
    assert_eq!((verdict.health, outcomes), (Health::Up, vec![Ok(())]));
    watch
}

/// The backend is down for this reason after just as many failures as it takes.
async fn falls(watch: &mut Watch, reason: &str) {
    let (verdict, outcomes) = watch.verdict().await;
    assert_eq!(verdict.health, Health::Down);
    assert_eq!(verdict.cause, format!("{reason} ×{UNHEALTHY}"));
    let failures = outcomes.iter().rev().take_while(|outcome| outcome.is_err());
    assert_eq!(failures.count(), UNHEALTHY, "{outcomes:?}");
}

/// The backend is up after just as many successes as it takes.
async fn rises(watch: &mut Watch) {
    let (verdict, outcomes) = watch.verdict().await;
    assert_eq!(verdict.health, Health::Up);
    let successes = outcomes.iter().rev().take_while(|outcome| outcome.is_ok());
    assert_eq!(successes.count(), HEALTHY, "{outcomes:?}");
}

macro_rules! a_web_server_that {
    ($($way:ident: $reason:literal,)*) => {
        mod a_web_server_that {
            use super::*;
            $(
                #[tokio::test]
                async fn $way() {
                    let mut backend = Backend::start(web::serves).await;
                    let mut watch = watch("kind = 'http'\nexpect_body = 'well'", backend.address).await;
                    backend.become_one_that(web::$way).await;
                    falls(&mut watch, $reason).await;
                    backend.become_one_that(web::serves).await;
                    rises(&mut watch).await;
                }
            )*
        }
    };
}

a_web_server_that! {
    is_overloaded: "status 503",
    says_something_else: r#"unexpected answer "maintenance""#,
    never_answers: "timed out",
    drips: "timed out",
    resets_in_the_middle: "connection reset",
    closes_in_the_middle: "connection closed early",
}

#[tokio::test]
async fn a_server_that_is_gone() {
    let mut backend = Backend::start(web::serves).await;
    let mut watch = watch("kind = 'tcp'", backend.address).await;
    backend.stop().await;
    falls(&mut watch, "connection refused").await;
    backend.become_one_that(web::serves).await;
    rises(&mut watch).await;
}

#[tokio::test]
async fn a_server_of_datagrams_that_is_gone() {
    let mut backend = Datagrams::start(udp::answers).await;
    let mut watch = watch("kind = 'udp'\nsend = 'ping'", backend.address).await;
    backend.stop().await;
    falls(&mut watch, "connection refused").await;
    backend.become_one_that(udp::answers).await;
    rises(&mut watch).await;
}

#[tokio::test]
async fn a_name_server_that_fails_or_hangs() {
    let mut backend = Datagrams::start(dns::serves).await;
    let mut watch = watch("kind = 'dns'\nquery = 'www.example.com'", backend.address).await;
    backend.become_one_that(dns::fails).await;
    falls(&mut watch, "DNS response SERVFAIL").await;
    backend.become_one_that(dns::serves).await;
    rises(&mut watch).await;
    backend.become_one_that(|_| vec![]).await;
    falls(&mut watch, "timed out").await;
    backend.become_one_that(dns::serves).await;
    rises(&mut watch).await;
}

#[tokio::test]
async fn a_grpc_server_that_stops_serving() {
    let mut backend = Backend::start(|stream| grpc::answers(stream, grpc::SERVING, "0")).await;
    let mut watch = watch("kind = 'grpc'", backend.address).await;
    backend
        .become_one_that(|stream| grpc::answers(stream, grpc::NOT_SERVING, "0"))
        .await;
    falls(&mut watch, "NOT_SERVING by its own account").await;
    backend
        .become_one_that(|stream| grpc::answers(stream, grpc::SERVING, "0"))
        .await;
    rises(&mut watch).await;
}
