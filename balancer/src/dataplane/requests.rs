//! What the XDP program asks of the daemon.

use std::io;

use aya::maps::{MapData, RingBuf};
use balancer_common::abi::{NeighborRequest, WakeRequest};
use tokio::io::{Interest, unix::AsyncFd};

/// Neighbours that the XDP program needed and did not know.
pub type NeighborRequests = Requests<NeighborRequest>;

/// Suspended backends that packets have come for.
pub type WakeRequests = Requests<WakeRequest>;

/// Records that the XDP program leaves in a buffer.
pub struct Requests<R> {
    buffer: AsyncFd<RingBuf<MapData>>,
    read: fn(&[u8]) -> Option<R>,
}

impl<R> Requests<R> {
    /// Watches a buffer whose records `read` understands. To be called in a Tokio runtime.
    pub(super) fn new(buffer: RingBuf<MapData>, read: fn(&[u8]) -> Option<R>) -> io::Result<Self> {
        // SAFETY: the buffer keeps its map, and with it the one descriptor that it ever had, open for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) };
        Ok(Self { buffer: watched?, read })
    }

    /// The next request.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> io::Result<R> {
        loop {
            let mut ready = self.buffer.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().next() {
                if let Some(request) = (self.read)(&item) {
                    return Ok(request);
                }
            }
            ready.clear_ready();
        }
    }
}
