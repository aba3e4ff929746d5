//! Why the data plane drops a packet: one flat list, each with its counter.

use crate::counted::counted;

counted! {
    /// Why a packet was dropped.
    DropReason:

    /// A packet for a service whose headers contradict each other or its length.
    Malformed = 0, "malformed";
    /// A later fragment of a packet for a service, whose first fragment, which alone shows the ports, was not seen before.
    Fragment = 1, "fragment";
    /// A packet whose TTL or hop limit would reach zero here.
    TtlExpired = 2, "ttl_expired";
    /// The service has no backend that may take the packet.
    NoBackend = 3, "no_backend";
    /// The host knows no route or no neighbour to the backend yet.
    NoNextHop = 4, "no_next_hop";
    /// A reply to a client to which the host has no route.
    NoRoute = 5, "no_route";
    /// A reply to a client or gateway whose link-layer address is not known yet; the daemon has been asked to resolve it.
    NoNeighbor = 6, "no_neighbor";
    /// A reply that the host may not forward: IP forwarding is switched off on the interface it came in by.
    ForwardingDisabled = 7, "forwarding_disabled";
    /// A packet that is larger than the MTU of the way: a reply to a client, or a packet for a backend that a tunnel or a
    /// longer IP header makes so.
    TooBig = 8, "too_big";
    /// A packet that the host's routing refuses with blackhole, unreachable or prohibit.
    RouteRefused = 9, "route_refused";
    /// The data plane met a state that the daemon should never leave it in.
    Internal = 10, "internal";
    /// A packet in front of which the network driver leaves no room for a longer header or those of a tunnel.
    NoHeadroom = 11, "no_headroom";
    /// The flow or its client belongs to a backend that is down, and the service has such clients dropped.
    BackendDown = 12, "backend_down";
    /// The flow or its client belongs to a backend that is down, and the service has such clients refused.
    Rejected = 13, "rejected";
    /// The flow or its client belongs to a backend that is suspended; the daemon has been told to wake it.
    Suspended = 14, "suspended";
    /// No source address and port was free for a new flow under full NAT: it takes more source addresses.
    PortsExhausted = 15, "ports_exhausted";
    /// A packet that cannot go from one IP version to the other: it has IPv4 options or IPv6 extension headers, it is an ICMP
    /// error that the other one does not have, or a UDP datagram without a checksum, which IPv6 asks for.
    Untranslatable = 16, "untranslatable";
    /// A packet whose source the service's allow and deny lists do not admit.
    SourceDenied = 17, "source_denied";
    /// A packet that begins a flow of a client that has begun as many as the service lets one begin for now.
    ClientLimited = 18, "client_limited";
    /// A packet that begins a flow of a service of which as many have begun as may for now.
    ServiceLimited = 19, "service_limited";
}
