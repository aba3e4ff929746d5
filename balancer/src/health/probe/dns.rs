//! The DNS probe: does the backend answer a query as it should (RFC 1035)?

use domain::{
    base::{Message, MessageBuilder},
    rdata::AllRecordData,
};
use futures_util::future::BoxFuture;
use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Failure, Probe, datagram,
    socket::{connect, datagrams},
};
use crate::{
    config::{self, Protocol},
    health::Destination,
};

/// Succeeds when a response to the query comes whose code is the expected one and that has, if any is expected, the
/// answer among its records of the queried type.
pub(super) struct DnsProbe(config::DnsProbe);

impl DnsProbe {
    pub(super) fn new(config: &config::DnsProbe) -> Self {
        Self(config.clone())
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let query = self.query()?;
        match self.0.transport {
            Protocol::Udp => {
                let socket = datagrams(destination).await?;
                // What is no response to this very query may be an old one, or forged.
                datagram::ask(&socket, query.as_slice(), |answer| self.judge(&query, answer)).await
            }
            Protocol::Tcp => {
                let mut stream = connect(destination).await?;
                // Over TCP, messages follow their length (RFC 1035, section 4.2.2).
                let query_octets = query.as_slice();
                let length = u16::try_from(query_octets.len()).map_err(|error| Failure::Request(error.to_string()))?;
                stream
                    .write_all(&[&length.to_be_bytes(), query_octets].concat())
                    .await?;
                let mut answer = vec![0; stream.read_u16().await?.into()];
                stream.read_exact(&mut answer).await?;
                let foreign = || Err(Failure::Malformed("no response to the query".to_owned()));
                self.judge(&query, &answer).unwrap_or_else(foreign)
            }
        }
    }

    fn query(&self) -> Result<Message<Vec<u8>>, Failure> {
        let mut builder = MessageBuilder::new_vec();
        builder
            .header_mut()
            .set_id(id().map_err(|error| Failure::Local(error.to_string()))?);
        builder.header_mut().set_rd(true);
        let mut question = builder.question();
        question
            .push((&self.0.query, self.0.query_type))
            .map_err(|error| Failure::Request(error.to_string()))?;
        Ok(question.into_message())
    }

    /// What `answer` says; `None` if it is no response to `query`.
    fn judge(&self, query: &Message<Vec<u8>>, answer: &[u8]) -> Option<Result<(), Failure>> {
        let response = Message::from_octets(answer).ok()?;
        if !response.is_answer(query) {
            return None;
        }
        let rcode = response.header().rcode();
        if rcode != self.0.expect_rcode {
            return Some(Err(Failure::Rcode(rcode.to_string())));
        }
        let Some(expected) = &self.0.expect_answer else {
            return Some(Ok(()));
        };
        let expected = bare(expected);
        Some(match self.answers(&response) {
            Ok(answers) if answers.iter().any(|answer| answer.eq_ignore_ascii_case(expected)) => Ok(()),
            Ok(answers) => Err(Failure::unexpected(answers.join(", ").as_bytes())),
            Err(error) => Err(Failure::Malformed(error.to_string())),
        })
    }

    /// The answers of the queried type.
    fn answers(&self, response: &Message<&[u8]>) -> Result<Vec<String>, domain::base::wire::ParseError> {
        let records = response.answer()?.into_records::<AllRecordData<_, _>>();
        let mut answers = Vec::new();
        for record in records {
            let record = record?;
            if record.rtype() == self.0.query_type {
                answers.push(bare(&record.data().to_string()).to_owned());
            }
        }
        Ok(answers)
    }
}

impl Probe for DnsProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}

/// A name without the dot that ends it, a text without its quotes.
fn bare(answer: &str) -> &str {
    answer.trim_matches('"').trim_end_matches('.')
}

/// An ID that nobody can guess, since who can could answer in the backend's place.
fn id() -> Result<u16, Errno> {
    let mut id = [0; 2];
    getrandom(&mut id, GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(id))
}
