//! Who a flow is from, as far as its service's affinity cares.

use crate::{
    abi::{ANY_PORT, Address, AffinityKind, ClientKey, FlowKey, Pin, Port, Service},
    hash,
};

/// Who a flow is from.
///
/// The order of the fields, here and in [`ClientKey`], keeps the compiler from writing two neighbouring constants at once
/// across a boundary of eight bytes, which the verifier refuses on the stack.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// What the client is remembered by.
    pub client: ClientKey,
    /// The client's port if it counts, else [`ANY_PORT`].
    pub port: Port,
    /// Whether the client is to be remembered.
    pub sticky: bool,
    /// Index of the backend that the client is pinned to; 0 for none.
    pub backend: u32,
}

impl Identity {
    /// Who the flow with this key is from, given the pin of its client if it has one.
    ///
    /// Clients that are pinned to a key are one client, without port, whatever the service's affinity.
    #[inline(always)]
    pub fn new(service: &Service, key: &FlowKey, pin: Option<&Pin>) -> Self {
        let mut identity = Self {
            client: ClientKey {
                client: key.client,
                pinned: 0,
                service: key.service,
            },
            port: key.client_port,
            sticky: false,
            backend: 0,
        };
        if service.affinity() == AffinityKind::ClientIp {
            identity.client.client = key.client.masked(service.client_mask);
            identity.port = ANY_PORT;
            identity.sticky = true;
        }
        if let Some(pin) = pin {
            if pin.backend == 0 {
                identity.client.client = Address::v6(pin.key);
                identity.client.pinned = 1;
                identity.port = ANY_PORT;
                identity.sticky = true;
            } else {
                identity.backend = pin.backend;
            }
        }
        identity
    }

    /// The slot of a Maglev table with so many that the client falls on.
    #[inline(always)]
    pub const fn slot(&self, slots: u32) -> u32 {
        hash::scale(self.hash(), slots)
    }

    /// The second of two slots whose backends the client may get.
    #[inline(always)]
    pub const fn other_slot(&self, slots: u32) -> u32 {
        hash::scale(hash::other(self.hash()), slots)
    }

    #[inline(always)]
    const fn hash(&self) -> u32 {
        hash::client(self.client.client, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Forwarding, Limits, Selection, ServiceParts, Tracking, WhenDown};
    use crate::quic::ConnectionIds;

    fn service(affinity: AffinityKind, bits: u32) -> Service {
        ServiceParts {
            vip: Address::v4([192, 0, 2, 10]),
            client_mask: Address::mask(bits),
            table_size: 65_537,
            timeout: 1,
            affinity,
            forwarding: Forwarding::Nat,
            tracking: Tracking::Full,
            when_down: WhenDown::Reassign,
            has_pins: true,
            selection: Selection::Maglev,
            mss: u16::MAX,
            connection_ids: ConnectionIds::DEFAULT,
            watches_failures: false,
            source_lists: None,
            limits: Limits::NONE,
        }
        .into()
    }

    fn key(client: [u8; 4], port: u16) -> FlowKey {
        FlowKey {
            client: Address::v4(client),
            service: 3,
            client_port: port.to_be_bytes(),
            service_port: [0, 80],
        }
    }

    #[test]
    fn the_port_counts_only_where_the_affinity_says_so() {
        let by_flow = service(AffinityKind::ClientIpPort, 128);
        let by_client = service(AffinityKind::ClientIp, 128);
        let slot = |service, port| Identity::new(service, &key([10, 0, 0, 1], port), None).slot(65_537);
        assert!((1..100).any(|port| slot(&by_flow, port) != slot(&by_flow, 0)));
        assert!((1..100).all(|port| slot(&by_client, port) == slot(&by_client, 0)));
    }

    #[test]
    fn clients_of_one_prefix_are_one_client() {
        let service = service(AffinityKind::ClientIp, 96 + 24);
        let identity = |client| Identity::new(&service, &key(client, 5), None);
        assert_eq!(identity([10, 0, 0, 1]), identity([10, 0, 0, 200]));
        assert_ne!(identity([10, 0, 0, 1]), identity([10, 0, 1, 1]));
        assert!(identity([10, 0, 0, 1]).sticky);
    }

    #[test]
    fn clients_that_are_pinned_to_a_key_are_one_client_whatever_the_affinity() {
        let pin = Pin {
            key: [7; 16],
            backend: 0,
        };
        for affinity in [AffinityKind::ClientIp, AffinityKind::ClientIpPort] {
            let service = service(affinity, 128);
            let identity = |client, port| Identity::new(&service, &key(client, port), Some(&pin));
            assert_eq!(identity([10, 0, 0, 1], 1), identity([172, 16, 0, 1], 2));
            assert!(identity([10, 0, 0, 1], 1).sticky);
        }
    }

    #[test]
    fn a_client_that_is_pinned_to_a_backend_stays_itself() {
        let service = service(AffinityKind::ClientIpPort, 128);
        let pin = Pin {
            key: [7; 16],
            backend: 9,
        };
        let identity = Identity::new(&service, &key([10, 0, 0, 1], 1), Some(&pin));
        let unpinned = Identity::new(&service, &key([10, 0, 0, 1], 1), None);
        assert_eq!(identity, Identity { backend: 9, ..unpinned });
    }
}
