//! Which backend a packet goes to.
//!
//! A remembered flow keeps its backend; a new flow goes where its client is remembered to be, if the service's affinity
//! is the client's, or where its client is pinned; else where the Maglev table says.

use balancer_common::{
    DropReason,
    abi::{
        self, Address, AffinityKind, Backend, ClientKey, Flow, FlowKey, Owner, Port, Reason, Service, Slot, TablePlace,
        Tick, Tracking, WhenDown, protocol,
    },
    affinity::{self, Identity, Memory, Sender, Standing, tcp},
    hash,
    packet::Headers,
    stand_in::Circle,
};

use crate::{failures, maps, outcome};

/// A backend, why it was chosen and what is to be remembered of that.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Selection {
    /// The client as it is to be remembered.
    pub(crate) client: ClientKey,
    /// The backend's index.
    ///
    /// Not its record: the compiler takes a pointer that travels in an `Option` of a larger structure apart, which the
    /// verifier refuses. Reading the record again costs a few inlined instructions.
    pub(crate) index: u32,
    pub(crate) reason: Reason,
    /// Whether the packet begins a flow, as far as can be told.
    pub(crate) begins_flow: bool,
    /// Whether the flow is to be remembered.
    pub(crate) note_flow: bool,
    /// Whether [`client`](Self::client) is to be remembered.
    pub(crate) note_client: bool,
}

/// Whether a selection leaves traces in what is remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a packet that is forwarded.
    Forward,
    /// To know, for an explanation or for a message about the flow.
    Ask,
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

#[inline(always)]
fn identity(service: &Service, key: &FlowKey) -> Identity {
    let pin = if service.has_pins() {
        maps::pin(key.service, key.client)
    } else {
        None
    };
    Identity::new(service, key, pin)
}

/// The slot of the service's Maglev table that the client of a flow falls on.
#[inline(always)]
pub(crate) fn slot_of(service: &Service, key: &FlowKey) -> u32 {
    identity(service, key).slot(maps::table(key.service).slots)
}

/// What the Maglev table of a service with this index, whose affinity is that of the connection and that has no pins, holds for a
/// client.
#[inline(always)]
pub(crate) fn slot_at_once(service: u32, client: Address, port: Port) -> Slot {
    let table = maps::table(service);
    maps::slot(table, hash::scale(hash::client(client, port), table.slots))
}

impl Selection {
    /// No selection yet.
    pub(crate) const NONE: Self = Self {
        client: ClientKey {
            client: Address::UNSPECIFIED,
            pinned: 0,
            service: 0,
        },
        index: 0,
        reason: Reason::NoBackend,
        begins_flow: false,
        note_flow: false,
        note_client: false,
    };
}

/// Selects the backend of a packet to the service with index `service`. The selection is written to where the caller has
/// it, since the stack has no room for copies.
///
/// # Errors
///
/// Why no backend gets the packet.
#[inline(always)]
pub(crate) fn select(
    service: u32,
    headers: &Headers,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<(), DropReason> {
    let number = select_backend(
        service,
        &raw const *headers,
        purpose == Purpose::Ask,
        &raw mut *selection,
    );
    outcome::result(number)
}

/// [`select`] as a function of its own with external linkage, which the verifier checks once for all packets.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn select_backend(index: u32, headers: *const Headers, ask: bool, selection: *mut Selection) -> u32 {
    // SAFETY: the caller passes references, and the verifier knows the size of what they point to.
    let (Some(headers), Some(selection)) = (unsafe { headers.as_ref() }, unsafe { selection.as_mut() }) else {
        return outcome::number(Err(DropReason::Internal));
    };
    let service = maps::service(index);
    let purpose = if ask { Purpose::Ask } else { Purpose::Forward };
    outcome::number(choose(service, &flow_key(index, headers), headers, purpose, selection))
}

#[inline(always)]
fn choose(
    service: &Service,
    key: &FlowKey,
    headers: &Headers,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<(), DropReason> {
    let now = maps::now();
    let tracking = service.tracking();
    selection.reason = Reason::Flow;
    let begins_connection = tcp::is_request(headers.tcp_flags);
    let mut refreshed = false;
    if tracking == Tracking::Full {
        selection.index = of_flow(service, key, headers, now, purpose, &mut refreshed)?.unwrap_or(0);
        if selection.index != 0 && !(refreshed && remembers_clients(service)) {
            return Ok(());
        }
        selection.note_flow = selection.index == 0;
    }

    let identity = identity(service, key);
    if selection.index != 0 {
        keep_client(service, &identity, now);
        return Ok(());
    }
    selection.client = identity.client;
    let table = maps::table(key.service);
    let number = identity.slot(table.slots);
    let slot = maps::slot(table, number);
    let moving = tracking == Tracking::Changes && headers.protocol == protocol::TCP && slot.has_changed();
    if moving {
        let known = of_flow(service, key, headers, now, purpose, &mut refreshed)?;
        selection.index = known.unwrap_or(0);
        if selection.index != 0 {
            if refreshed {
                keep_client(service, &identity, now);
            }
            return Ok(());
        }
        selection.note_flow = true;
        if known.is_none() && !begins_connection {
            selection.index = previous_owner(key.service, number);
            if selection.index != 0 {
                return Ok(());
            }
        }
    }
    selection.begins_flow = tracking == Tracking::Full || begins_connection;
    of_client(service, &identity, (table, number), now, purpose, selection)
}

/// The backend of a new flow, from what its client is remembered or pinned to, or from the table.
#[inline(always)]
fn of_client(
    service: &Service,
    identity: &Identity,
    (table, number): (TablePlace, u32),
    now: Tick,
    purpose: Purpose,
    selection: &mut Selection,
) -> Result<(), DropReason> {
    if identity.backend != 0 && takes_clients(maps::backend(identity.backend)) {
        selection.index = identity.backend;
        selection.reason = Reason::Pin;
        return Ok(());
    }
    if identity.sticky && service.tracking() != Tracking::None {
        if let Some(client) = maps::client(&identity.client)
            && affinity::is_remembered(now, client.last_seen, service.timeout)
        {
            let index = standing_of(client.owner, Memory::Client, service, purpose)?;
            if index != 0 {
                if purpose == Purpose::Forward && client.last_seen != now {
                    client.last_seen = now;
                }
                selection.index = index;
                selection.reason = Reason::Affinity;
                return Ok(());
            }
        }
        selection.note_client = true;
    }
    let backend = serving(table, number);
    selection.index = match service.selection() {
        abi::Selection::Maglev => backend,
        abi::Selection::LeastFlows => emptier(table, identity, backend),
    };
    if selection.index == 0 {
        return Err(DropReason::NoBackend);
    }
    selection.reason = if identity.client.pinned == 0 {
        Reason::Maglev
    } else {
        Reason::Pin
    };
    Ok(())
}

/// That one of the backends of the client's two slots which has fewer flows for its weight.
#[inline(always)]
fn emptier(table: TablePlace, identity: &Identity, backend: u32) -> u32 {
    let other = serving(table, identity.other_slot(table.slots));
    if maps::load(other).is_lighter_than(maps::load(backend)) {
        other
    } else {
        backend
    }
}

/// The backend of a slot, or who stands in for it; 0 if the table says that nobody serves.
#[inline(always)]
fn serving(table: TablePlace, number: u32) -> u32 {
    let backend = maps::slot(table, number).backend();
    if backend == 0 || takes_clients(maps::backend(backend)) {
        backend
    } else {
        stand_in(table.to_bits(), number)
    }
}

/// Whether new clients may go to the backend whose slot they fall on.
#[inline(always)]
pub(crate) fn takes_clients(backend: &Backend) -> bool {
    affinity::standing(Memory::Client, backend.flags, WhenDown::Reassign) == Standing::Serves
}

/// How many places of the circle are asked for a backend that serves. If nine of ten backends fail at once, it is found for 99.9 %
/// of the clients.
const PLACES: u32 = 128;

/// Who stands in for the backend of a slot, 0 for nobody, as long as the table does not say it itself: a backend's failure shows
/// in its record before the tables of its services follow, and these give the slot to the same backend (`balancer::maglev`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stand_in(table: u64, slot: u32) -> u32 {
    for steps in 1..=PLACES {
        let backend = serving_after(table, slot, steps);
        if backend != 0 {
            return backend;
        }
    }
    0
}

/// The backend so many places after a slot on the circle, 0 if it takes no clients. A function with external linkage, so that the
/// verifier follows one step for all of them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn serving_after(table: u64, slot: u32, steps: u32) -> u32 {
    let table = TablePlace::from_bits(table);
    let circle = Circle::of(table.slots);
    let Some(number) = circle.slot_at(circle.place_of(slot).wrapping_add(steps)) else {
        return 0;
    };
    let backend = maps::slot(table, number).backend();
    if takes_clients(maps::backend(backend)) {
        backend
    } else {
        0
    }
}

/// The backend that the flow is remembered to have, or 0 if it may have it no longer; `None` if it is not remembered. Now and
/// then a packet refreshes the memory of its flow, and then that of its client is to be refreshed too.
#[inline(always)]
fn of_flow(
    service: &Service,
    key: &FlowKey,
    headers: &Headers,
    now: Tick,
    purpose: Purpose,
    refreshed: &mut bool,
) -> Result<Option<u32>, DropReason> {
    let Some(flow) = maps::flow(key) else {
        return Ok(None);
    };
    if !is_remembered(flow, now, service.timeout) {
        return Ok(None);
    }
    let memory = failures::note_request(service, flow, headers, now, purpose);
    let index = standing_of(flow.owner, memory, service, purpose)?;
    if index != 0 && purpose == Purpose::Forward {
        *refreshed = keep_flow(flow, headers, now);
    }
    Ok(Some(index))
}

/// Whether a flow of a service whose idle flows are remembered for `timeout` still is.
#[inline(always)]
pub(crate) fn is_remembered(flow: &Flow, now: Tick, timeout: u32) -> bool {
    affinity::is_remembered(now, flow.last_seen, maps::lifetimes().of(flow.phase, timeout))
}

/// Keeps a flow remembered that its client has sent a packet of. Returns whether that was to be done: it is once for every unit
/// of the clock.
#[inline(always)]
pub(crate) fn keep_flow(flow: &mut Flow, headers: &Headers, now: Tick) -> bool {
    let phase = flow.phase.after(Sender::Client, headers.tcp_flags);
    maps::advance(flow, phase);
    let is_due = flow.last_seen != now;
    if is_due {
        flow.last_seen = now;
    }
    is_due
}

/// Whether the service has clients that are remembered beside their flows.
#[inline(always)]
fn remembers_clients(service: &Service) -> bool {
    service.affinity() == AffinityKind::ClientIp || service.has_pins()
}

/// Keeps the client of a flow in use remembered.
#[inline(always)]
fn keep_client(service: &Service, identity: &Identity, now: Tick) {
    if identity.sticky
        && let Some(client) = maps::client(&identity.client)
        && affinity::is_remembered(now, client.last_seen, service.timeout)
    {
        client.last_seen = now;
    }
}

/// The index of a remembered backend that serves, or 0 if another is to be chosen.
#[inline(always)]
pub(crate) fn standing_of(
    owner: Owner,
    memory: Memory,
    service: &Service,
    purpose: Purpose,
) -> Result<u32, DropReason> {
    let backend = maps::backend(owner.backend);
    if backend.incarnation != owner.incarnation {
        return Ok(0);
    }
    match affinity::standing(memory, backend.flags, service.when_down()) {
        Standing::Serves => Ok(owner.backend),
        Standing::Gone => Ok(0),
        Standing::Reject => Err(DropReason::Rejected),
        Standing::Drop => Err(DropReason::BackendDown),
        Standing::Wake => {
            if purpose == Purpose::Forward {
                maps::request_wake(owner);
            }
            Err(DropReason::Suspended)
        }
    }
}

/// The backend that had the slot before it changed hands, if it still serves its flows; else 0. A flow that is not
/// remembered and does not begin has been there since before.
#[inline(always)]
fn previous_owner(service: u32, slot: u32) -> u32 {
    let table = maps::previous_table(service);
    if slot >= table.slots {
        return 0;
    }
    let previous = maps::slot(table, slot).backend();
    if serves_flows(maps::backend(previous)) {
        previous
    } else {
        0
    }
}

/// Whether the flows that are remembered to be the backend's are served by it.
#[inline(always)]
pub(crate) fn serves_flows(backend: &Backend) -> bool {
    affinity::standing(Memory::Flow, backend.flags, WhenDown::Reassign) == Standing::Serves
}
