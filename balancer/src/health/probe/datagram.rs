//! A question and its answer in datagrams.

use std::time::Duration;

use tokio::{net::UdpSocket, time};

use super::Failure;

/// Bytes of a datagram that are looked at.
const MAX_DATAGRAM: usize = 4096;
/// How long the first datagram may be under way before the question is repeated; doubled each time.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);

/// Asks until `judge` has something to say about a datagram that came back. Datagrams get lost, so the question is
/// repeated, which is still one and the same probe.
pub(super) async fn ask(
    socket: &UdpSocket,
    question: &[u8],
    mut judge: impl FnMut(&[u8]) -> Option<Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut answer = vec![0; MAX_DATAGRAM];
    let mut patience = FIRST_PATIENCE;
    loop {
        socket.send(question).await?;
        let judged = async {
            loop {
                let length = socket.recv(&mut answer).await?;
                if let Some(judgement) = judge(&answer[..length]) {
                    return judgement;
                }
            }
        };
        if let Ok(result) = time::timeout(patience, judged).await {
            return result;
        }
        patience *= 2;
    }
}
