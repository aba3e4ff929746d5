//! What the XDP program asks of the daemon.

use std::io;

use aya::maps::{MapData, RingBuf};
use balancer_common::abi::NeighborRequest;
use tokio::io::{Interest, unix::AsyncFd};

/// Neighbours that the XDP program needed and did not know.
pub struct NeighborRequests(AsyncFd<RingBuf<MapData>>);

impl NeighborRequests {
    /// Watches a buffer. To be called in a Tokio runtime.
    pub(super) fn new(buffer: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the buffer keeps its map, and with it the one descriptor that it ever had, open for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) };
        Ok(Self(watched?))
    }

    /// The next request.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> io::Result<NeighborRequest> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().next() {
                if let Some(request) = NeighborRequest::from_bytes(&item) {
                    return Ok(request);
                }
            }
            ready.clear_ready();
        }
    }
}
