//! Why the data plane drops a packet: one flat list, each with its counter.

/// Declares the reasons once: variant, metric label and explanation.
macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $label:literal;)+) => {
        /// Why a packet was dropped. The number is the index of the reason's counter.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason with this number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name under which the reason is counted, in snake case.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            /// What the reason means, for operators.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

drop_reasons! {
    /// A packet for a service whose headers contradict each other or its length.
    Malformed = 0, "malformed";
    /// A fragment of a packet for a service.
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
    /// A packet that is larger than the MTU of the way: a reply to a client, or a packet for a backend inside the tunnel.
    TooBig = 8, "too_big";
    /// A packet that the host's routing refuses with blackhole, unreachable or prohibit.
    RouteRefused = 9, "route_refused";
    /// The data plane met a state that the daemon should never leave it in.
    Internal = 10, "internal";
    /// A packet in front of which the network driver leaves no room for the headers of a tunnel.
    NoHeadroom = 11, "no_headroom";
    /// The flow or its client belongs to a backend that is down, and the service has such clients dropped.
    BackendDown = 12, "backend_down";
    /// The flow or its client belongs to a backend that is down, and the service has such clients refused.
    Rejected = 13, "rejected";
    /// The flow or its client belongs to a backend that is suspended; the daemon has been told to wake it.
    Suspended = 14, "suspended";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_indices_and_labels_are_unique_metric_values() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::from_number(*reason as u32), Some(*reason));
            let label = reason.label();
            assert!(
                label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{label}"
            );
            assert_eq!(
                DropReason::ALL.iter().filter(|other| other.label() == label).count(),
                1,
                "{label}"
            );
            assert!(!reason.description().is_empty());
        }
        assert_eq!(DropReason::from_number(DropReason::ALL.len() as u32), None);
    }
}
