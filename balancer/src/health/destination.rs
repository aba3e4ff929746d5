//! Where probes go.

use std::net::SocketAddr;

/// Where the probes of one backend go, and by which path.
///
/// A backend of a service that forwards by other means than address translation is best asked at the VIP, by the path
/// that packets take: `address` is then the VIP's, and `mark` tells the kernel which backend's path it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The backend's name.
    pub backend: String,
    /// Address and port to ask.
    pub address: SocketAddr,
    /// Mark of the sockets that ask (`SO_MARK` of socket(7)), which takes `CAP_NET_ADMIN`; `None` leaves them unmarked.
    pub mark: Option<u32>,
}
