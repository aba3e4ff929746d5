//! Which backend a packet goes to.

use balancer_common::{
    abi::{ANY_PORT, AffinityKind, BackendFlags, FlowKey, Reason, Service},
    hash,
    packet::Headers,
};

use crate::maps;

/// A backend's index and why it was chosen.
///
/// Not the backend's record: the compiler takes a pointer that travels in an `Option` of a larger structure apart, which
/// the verifier refuses. Reading the record again costs a few inlined instructions.
pub(crate) struct Selection {
    pub(crate) index: u32,
    pub(crate) reason: Reason,
}

/// What the flow of a packet to `service` is remembered by.
#[inline(always)]
pub(crate) fn flow_key(service: u32, headers: &Headers) -> FlowKey {
    FlowKey {
        client: headers.source,
        service,
        client_port: headers.ports.source,
        service_port: headers.ports.destination,
    }
}

/// The slot of the service's Maglev table that the client falls on.
#[inline(always)]
pub(crate) fn slot(service: &Service, key: &FlowKey) -> u32 {
    let port = match service.affinity() {
        AffinityKind::ClientIpPort => key.client_port,
        AffinityKind::ClientIp => ANY_PORT,
    };
    hash::scale(hash::client(key.client, port), service.table_size)
}

/// The flow's remembered backend if it still may serve, else the one that the table names. Changes nothing.
#[inline(always)]
pub(crate) fn select(service: &Service, key: &FlowKey) -> Option<Selection> {
    if let Some(flow) = maps::flow(key)
        && let Some(backend) = maps::backend(flow.backend)
        && backend.incarnation == flow.incarnation
        && backend.flags.contains(BackendFlags::KEEPS_FLOWS)
    {
        return Some(Selection {
            index: flow.backend,
            reason: Reason::Flow,
        });
    }
    // Index 0, which fills the table of a service without backends, is none.
    let index = maps::slot(key.service, service.table_class(), slot(service, key))?;
    (index != 0).then_some(Selection {
        index,
        reason: Reason::Maglev,
    })
}
