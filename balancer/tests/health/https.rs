//! HTTP under TLS: whose certificates are believed, and for how long.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::{Authority, NAME},
    harness::{Backend, Watch, probe},
    web,
};

const VALID: i32 = 2100;
const EXPIRED: i32 = 2020;

async fn server(authority: &Authority, until: i32) -> Backend {
    let acceptor = authority.server(until, b"http/1.1");
    Backend::start(move |stream| serve(acceptor.clone(), stream)).await
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    web::answer(acceptor.accept(stream).await?, &web::reply("200 OK", "all is well")).await
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_believed_for_its_names_until_it_expires() {
    let (ours, other) = (Authority::new("one"), Authority::new("another"));
    let (valid, expired) = (server(&ours, VALID).await, server(&ours, EXPIRED).await);
    let (ours, other) = (ours.line(), other.line());
    let named = |name: &str| format!("{ours}\nsni = '{name}'");
    for (backend, lines, expected) in [
        (&valid, ours.clone(), None),
        (&valid, named(NAME), None),
        (&valid, format!("{ours}\nhost = '{NAME}:443'"), None),
        (&valid, named("other.example.com"), Some("not valid for name")),
        (
            &valid,
            format!("{ours}\nhost = 'other.example.com'"),
            Some("not valid for name"),
        ),
        (&valid, other, Some("UnknownIssuer")),
        (&valid, String::new(), Some("UnknownIssuer")),
        (&expired, ours.clone(), Some("expired")),
        (&expired, "verify = false".to_owned(), None),
        (&valid, "verify = false\nsni = 'other.example.com'".to_owned(), None),
    ] {
        let outcome = probe(
            &format!("kind = 'https'\nexpect_body = 'well'\n{lines}"),
            backend.address,
        )
        .await;
        match (&outcome, expected) {
            (Ok(()), None) => {}
            (Err(failure), Some(expected)) if failure.starts_with("TLS: ") && failure.contains(expected) => {}
            _ => panic!("{outcome:?} with\n{lines}"),
        }
    }
}

#[tokio::test]
async fn plain_text_from_a_server_is_no_tls() {
    let backend = Backend::start(web::serves_at_once).await;
    let failure = probe("kind = 'https'\nverify = false", backend.address)
        .await
        .unwrap_err();
    assert!(failure.starts_with("TLS: "), "{failure}");
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_says_nothing_about_the_backend() {
    let authority = Authority::new("one");
    let backend = server(&authority, VALID).await;
    let lines = "kind = 'https'\nca = '/nonexistent/ca.pem'";
    let failure = probe(lines, backend.address).await.unwrap_err();
    assert!(
        failure.starts_with("not probed: /nonexistent/ca.pem cannot be read"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_changed_file_of_authorities_is_read_again() {
    let (old, new) = (Authority::new("one"), Authority::new("another"));
    let backend = server(&new, VALID).await;
    let mut watch = Watch::start(
        &format!("kind = 'https'\ninterval = '10ms'\n{}", old.line()),
        backend.address,
    );
    watch.outcome().await.unwrap_err();
    old.give_way_to(&new);
    while watch.outcome().await.is_err() {}
}
