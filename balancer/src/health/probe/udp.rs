//! The UDP probe: does the backend answer a datagram, or at least not refuse it?

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time;

use super::{Failure, Probe, datagram, pattern::Pattern, socket::datagrams};
use crate::{config, health::Destination};

/// The longest that a refusal is waited for. It comes at once or never.
const MAX_PATIENCE: Duration = Duration::from_secs(1);

/// Succeeds when the expected answer comes. Where none is expected, any answer will do, and so will silence.
pub(super) struct UdpProbe {
    send: Vec<u8>,
    expect: Option<Pattern>,
    /// How long silence must last to mean that nothing refuses datagrams.
    patience: Duration,
}

impl UdpProbe {
    /// A probe that is given `timeout`.
    pub(super) fn new(config: &config::UdpProbe, timeout: Duration) -> Self {
        Self {
            send: config.send.clone(),
            expect: config.expect.as_ref().map(Pattern::new),
            patience: MAX_PATIENCE.min(timeout / 2),
        }
    }

    async fn ask(&self, destination: &Destination) -> Result<(), Failure> {
        let socket = datagrams(destination).await?;
        if let Some(pattern) = &self.expect {
            return datagram::ask(&socket, &self.send, |answer| Some(pattern.demand(answer))).await;
        }
        let any = datagram::ask(&socket, &self.send, |_| Some(Ok(())));
        time::timeout(self.patience, any).await.unwrap_or(Ok(()))
    }
}

impl Probe for UdpProbe {
    fn probe<'a>(&'a self, destination: &'a Destination) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.ask(destination))
    }
}
