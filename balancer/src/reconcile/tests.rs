use std::collections::{BTreeSet, HashMap, HashSet};

use balancer_common::{
    abi::{
        self, ANY_PORT, Address, AffinityKind, BackendFlags, EndpointKey, Forwarding, NextHop, Port, Role, Selection,
        SourcePool, Tracking, WhenDown, protocol,
    },
    quic::ConnectionIds,
};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{
    Desired, DesiredBackend, DesiredService, Exhausted, Index, Limits, Operation, Refresh, State, diff, refresh, stand,
};
use crate::maglev::TableSize;

pub(super) const LIMITS: Limits = Limits {
    services: 64,
    backends: 256,
};

pub(super) fn service(name: &str, vip: u8, ports: &[u16], backends: Vec<DesiredBackend>) -> DesiredService {
    DesiredService {
        name: name.to_owned(),
        vip: Address::v4([192, 0, 2, vip]),
        ports: ports.iter().map(|port| port.to_be_bytes()).collect(),
        protocol: protocol::TCP,
        affinity: AffinityKind::ClientIpPort,
        client_mask: Address::mask(128),
        connection_ids: ConnectionIds::DEFAULT,
        timeout: 1_000,
        tracking: Tracking::Full,
        selection: Selection::Maglev,
        when_down: WhenDown::Reassign,
        mss: u16::MAX,
        pins: Vec::new(),
        source_lists: None,
        limits: abi::Limits::NONE,
        forwarding: Forwarding::Nat,
        sources: None,
        table_size: TableSize::new(7).unwrap(),
        watches_failures: false,
        backends,
    }
}

fn backend(host: u8, port: Port) -> DesiredBackend {
    DesiredBackend {
        name: format!("b{host}"),
        address: Address::v4([10, 0, 0, host]),
        port,
        next_hop: NextHop::default(),
        tunnel_source: Address::UNSPECIFIED,
        mtu: 1_500,
        weight: 100,
        flags: BackendFlags::KEEPS_FLOWS,
        server_id: None,
    }
}

fn port(number: u16) -> Port {
    number.to_be_bytes()
}

/// The state after all operations from `state` to `desired`.
fn reach(state: &State, desired: &Desired) -> State {
    let mut reached = state.clone();
    for operation in diff(state, desired, LIMITS).unwrap() {
        reached.apply(operation);
    }
    assert_eq!(reached.index, Index::of(&reached.services, &reached.backends));
    reached
}

fn from_nothing(services: Vec<DesiredService>) -> State {
    reach(&State::default(), &Desired { services })
}

/// What a packet to `address` and `port` meets: the service's name and its backends' addresses, or nothing. Panics if
/// something that the packet is led to is not whole.
fn follow(state: &State, address: Address, port: Port) -> Option<(String, BTreeSet<Address>)> {
    let key = EndpointKey::new(Role::Service, address, port, protocol::TCP);
    let index = state.endpoints.get(&key)?;
    let service = &state.services[index];
    assert!(
        service.record.is_some(),
        "an endpoint leads to a service without a record"
    );
    let table = state.tables.get(index).expect("a service that is led to has a table");
    let backends = table.candidates.iter().map(|candidate| {
        let backend = &state.backends[&candidate.value].record;
        assert_eq!(backend.service, *index, "a table leads to another service's backend");
        assert_ne!(backend.incarnation, 0);
        backend.address
    });
    Some((service.name.clone(), backends.collect()))
}

#[test]
fn nothing_changes_when_nothing_differs() {
    let desired = Desired {
        services: vec![service(
            "web",
            1,
            &[80, 443],
            vec![backend(1, port(8080)), backend(2, ANY_PORT)],
        )],
    };
    let state = reach(&State::default(), &desired);
    assert_eq!(diff(&state, &desired, LIMITS), Ok(Vec::new()));
}

#[test]
fn a_refresh_knows_nothing_of_what_is_not_there_yet() {
    let state = from_nothing(vec![service("web", 1, &[80], vec![backend(1, port(80))])]);
    for services in [
        vec![service("api", 2, &[80], vec![])],
        vec![service("web", 1, &[80], vec![backend(2, port(80))])],
    ] {
        assert_eq!(refresh(&state, &Desired { services }), None);
    }
}

#[test]
fn an_unchanged_service_is_not_touched_by_another_ones_change() {
    let web = service("web", 1, &[80], vec![backend(1, port(80))]);
    let state = from_nothing(vec![web.clone(), service("api", 2, &[80], vec![backend(2, port(80))])]);
    let index = state.index.services["web"];
    let desired = Desired {
        services: vec![web, service("api", 2, &[80], vec![backend(3, port(80))])],
    };
    for operation in diff(&state, &desired, LIMITS).unwrap() {
        match operation {
            Operation::WriteService { index: other, .. } | Operation::ReleaseService { index: other } => {
                assert_ne!(other, index);
            }
            Operation::PublishTables { tables } => assert!(tables.iter().all(|(other, _)| *other != index)),
            _ => {}
        }
    }
}

#[test]
fn a_service_and_its_backends_keep_their_indices() {
    let before = from_nothing(vec![service(
        "web",
        1,
        &[80],
        vec![backend(1, port(80)), backend(2, port(80))],
    )]);
    let mut renamed = backend(2, port(80));
    renamed.name = "other".to_owned();
    let after = reach(
        &before,
        &Desired {
            services: vec![service("web", 9, &[443], vec![renamed, backend(3, port(80))])],
        },
    );
    assert_eq!(before.index.services["web"], after.index.services["web"]);
    let identity = (before.index.services["web"], Address::v4([10, 0, 0, 2]), port(80));
    assert_eq!(before.index.backends[&identity], after.index.backends[&identity]);
    assert_eq!(after.backends[&after.index.backends[&identity]].name, "other");
}

#[test]
fn an_index_that_is_used_again_has_another_incarnation() {
    let first = from_nothing(vec![service("web", 1, &[80], vec![backend(1, port(80))])]);
    let (&index, entry) = first.backends.first_key_value().unwrap();
    let empty = reach(
        &first,
        &Desired {
            services: vec![service("web", 1, &[80], Vec::new())],
        },
    );
    assert!(empty.backends.is_empty());
    let second = reach(
        &empty,
        &Desired {
            services: vec![service("web", 1, &[80], vec![backend(2, port(80))])],
        },
    );
    assert_eq!(second.backends[&index].record.incarnation, entry.record.incarnation + 1);
}

#[test]
fn an_endpoint_that_changes_hands_is_never_absent() {
    let before = from_nothing(vec![service("old", 1, &[80], vec![backend(1, port(80))])]);
    let desired = Desired {
        services: vec![service("new", 1, &[80], vec![backend(1, port(80))])],
    };
    let mut state = before.clone();
    for operation in diff(&before, &desired, LIMITS).unwrap() {
        state.apply(operation);
        assert!(follow(&state, Address::v4([192, 0, 2, 1]), port(80)).is_some());
    }
    assert_eq!(follow(&state, Address::v4([192, 0, 2, 1]), port(80)).unwrap().0, "new");
}

#[test]
fn nothing_is_freed_before_packets_have_passed() {
    let before = from_nothing(vec![service("web", 1, &[80], vec![backend(1, port(80))])]);
    let operations = diff(&before, &Desired::default(), LIMITS).unwrap();
    let position = |wanted: fn(&Operation) -> bool| operations.iter().position(wanted).unwrap();
    let last_unbind = operations
        .iter()
        .rposition(|operation| matches!(operation, Operation::Unbind { .. }))
        .unwrap();
    let settle = position(|operation| *operation == Operation::Settle);
    let service = position(|operation| matches!(operation, Operation::ReleaseService { .. }));
    let backend = position(|operation| matches!(operation, Operation::ReleaseBackend { .. }));
    assert!(last_unbind < settle && settle < service && service < backend);
}

#[test]
fn where_replies_do_not_return_none_is_recognised() {
    for forwarding in Forwarding::ALL {
        let mut direct = service("a", 1, &[80, 443], vec![backend(1, ANY_PORT)]);
        direct.forwarding = forwarding;
        let state = from_nothing(vec![direct]);
        let recognised = state.endpoints.keys().any(|key| key.role() == Some(Role::Backend));
        assert_eq!(recognised, forwarding.replies_return(), "{forwarding:?}");
        // What changes its way of forwarding leaves nothing behind.
        let nat = from_nothing(vec![service("a", 1, &[80, 443], vec![backend(1, ANY_PORT)])]);
        let mut direct = service("a", 1, &[80, 443], vec![backend(1, ANY_PORT)]);
        direct.forwarding = forwarding;
        let changed = reach(&nat, &Desired { services: vec![direct] });
        assert_eq!(changed.endpoints, state.endpoints, "{forwarding:?}");
    }
}

/// A service under full NAT that sends from port 1024 and up to `last_port`.
fn full_nat(service: DesiredService, last_port: u16) -> DesiredService {
    DesiredService {
        forwarding: Forwarding::FullNat,
        sources: Some(Box::new(SourcePool::new(
            [Address::v4([10, 0, 1, 1])],
            (1_024, last_port),
            60,
        ))),
        ..service
    }
}

#[test]
fn sources_are_there_before_a_service_and_go_after_it() {
    let plain = || service("web", 1, &[80], vec![backend(1, port(80))]);
    let desired = |service| Desired {
        services: vec![service],
    };
    let place = |operations: &[Operation], wanted: fn(&Operation) -> bool| operations.iter().position(wanted);
    let writes_sources: fn(&Operation) -> bool = |operation| matches!(operation, Operation::WriteSources { .. });
    let writes_service: fn(&Operation) -> bool = |operation| matches!(operation, Operation::WriteService { .. });
    let removes_sources: fn(&Operation) -> bool = |operation| matches!(operation, Operation::RemoveSources { .. });
    let settles: fn(&Operation) -> bool = |operation| *operation == Operation::Settle;

    let operations = diff(&State::default(), &desired(full_nat(plain(), 2_000)), LIMITS).unwrap();
    assert!(place(&operations, writes_sources).unwrap() < place(&operations, writes_service).unwrap());

    let state = from_nothing(vec![full_nat(plain(), 2_000)]);
    let operations = diff(&state, &desired(full_nat(plain(), 3_000)), LIMITS).unwrap();
    assert!(
        matches!(operations[..], [Operation::WriteSources { .. }]),
        "{operations:?}"
    );

    for without in [desired(plain()), Desired::default()] {
        let operations = diff(&state, &without, LIMITS).unwrap();
        assert!(place(&operations, settles).unwrap() < place(&operations, removes_sources).unwrap());
        assert!(reach(&state, &without).sources.is_empty());
    }
}

#[test]
fn a_backend_that_may_answer_the_balancer_itself_says_so() {
    let marked = |state: &State| -> Vec<bool> {
        let backends = state.backends.values();
        backends
            .map(|backend| backend.record.flags.contains(BackendFlags::FULL_NAT))
            .collect()
    };
    let one = |vip| service(&format!("s{vip}"), vip, &[80], vec![backend(vip, port(80))]);
    let state = from_nothing(vec![full_nat(one(1), 2_000), one(2)]);
    assert_eq!(marked(&state), [true, false]);
    // Where two share an endpoint, it leads to one of them for both.
    let shared = |vip| service(&format!("s{vip}"), vip, &[80], vec![backend(9, port(80))]);
    let state = from_nothing(vec![shared(1), full_nat(shared(2), 2_000)]);
    assert_eq!(marked(&state), [true, true]);
}

#[test]
fn replies_are_told_apart_by_endpoint_where_that_suffices() {
    for (what, services, shared) in [
        (
            "one port",
            vec![service("a", 1, &[80], vec![backend(1, port(8080))])],
            [false, false],
        ),
        (
            "the client's ports",
            vec![service("a", 1, &[80, 443], vec![backend(1, ANY_PORT)])],
            [false, false],
        ),
        (
            "every port",
            vec![service("a", 1, &[], vec![backend(1, ANY_PORT)])],
            [false, false],
        ),
        (
            "two ports to one",
            vec![service("a", 1, &[80, 443], vec![backend(1, port(8080))])],
            [true, true],
        ),
        (
            "every port to one",
            vec![service("a", 1, &[], vec![backend(1, port(8080))])],
            [true, true],
        ),
        (
            "two services, two backends",
            vec![
                service("a", 1, &[80], vec![backend(1, port(80))]),
                service("b", 2, &[80], vec![backend(2, port(80))]),
            ],
            [false, false],
        ),
        (
            "two services, one endpoint",
            vec![
                service("a", 1, &[80], vec![backend(1, port(80))]),
                service("b", 2, &[80], vec![backend(1, port(80))]),
            ],
            [true, true],
        ),
        (
            "every port beside one",
            vec![
                service("a", 1, &[], vec![backend(1, ANY_PORT)]),
                service("b", 2, &[80], vec![backend(1, port(8080))]),
            ],
            [true, true],
        ),
    ] {
        let state = from_nothing(services);
        let flags: Vec<_> = state
            .backends
            .values()
            .map(|backend| backend.record.flags.contains(BackendFlags::SHARED_ENDPOINT))
            .collect();
        assert_eq!(flags, shared[..flags.len()], "{what}");
    }
}

#[test]
fn the_first_owner_of_a_shared_endpoint_keeps_it() {
    let first = service("z", 1, &[80], vec![backend(1, port(80))]);
    let before = from_nothing(vec![first.clone()]);
    let key = EndpointKey::new(Role::Backend, Address::v4([10, 0, 0, 1]), port(80), protocol::TCP);
    let owner = before.endpoints[&key];
    let after = reach(
        &before,
        &Desired {
            services: vec![service("a", 2, &[80], vec![backend(1, port(80))]), first],
        },
    );
    assert_eq!(after.endpoints[&key], owner);
}

#[test]
fn an_endpoint_that_comes_to_stand_beside_one_on_every_port_leads_where_that_one_does() {
    let every_port = service("z", 1, &[], vec![backend(1, ANY_PORT)]);
    let one_port = service("a", 2, &[80], vec![backend(1, port(8080))]);
    let endpoint = |port| EndpointKey::new(Role::Backend, Address::v4([10, 0, 0, 1]), port, protocol::TCP);

    let before = from_nothing(vec![every_port.clone()]);
    let owner = before.endpoints[&endpoint(ANY_PORT)];
    let services = vec![one_port.clone(), every_port];
    let beside = reach(&before, &Desired { services });
    assert_eq!(beside.endpoints[&endpoint(port(8080))], owner);

    let services = vec![one_port];
    let alone = reach(&beside, &Desired { services });
    let target = alone.endpoints[&endpoint(port(8080))];
    assert_eq!(alone.backends[&target].record.service, alone.index.services["a"]);
}

#[test]
fn a_backend_keeps_the_port_of_its_replies_while_its_service_has_it() {
    let web = |ports: &[u16]| Desired {
        services: vec![service("web", 1, ports, vec![backend(1, port(8080))])],
    };
    let mut state = State::default();
    for (ports, expected) in [
        (&[443][..], port(443)),
        (&[80, 443], port(443)),
        (&[], port(443)),
        (&[80], port(80)),
        (&[80, 443], port(80)),
    ] {
        state = reach(&state, &web(ports));
        let (_, backend) = state.backends.first_key_value().unwrap();
        assert_eq!(backend.record.reply_port, expected, "{ports:?}");
    }
}

#[test]
fn what_has_no_room_is_refused_as_a_whole() {
    let limits = Limits {
        services: 2,
        backends: 3,
    };
    let services = |count: u8| {
        (0..count)
            .map(|n| service(&n.to_string(), n, &[80], Vec::new()))
            .collect()
    };
    let desired = |services| Desired { services };
    assert!(diff(&State::default(), &desired(services(1)), limits).is_ok());
    assert_eq!(
        diff(&State::default(), &desired(services(2)), limits),
        Err(Exhausted::Services(1))
    );
    let backends = (0..3).map(|host| backend(host, port(80))).collect();
    assert_eq!(
        diff(
            &State::default(),
            &desired(vec![service("web", 1, &[80], backends)]),
            limits
        ),
        Err(Exhausted::Backends(2))
    );
}

/// A desired state from a small world, in which states have much in common.
fn any_desired() -> impl Strategy<Value = Desired> {
    let backends = || {
        (
            subsequence((1..=4_u8).collect::<Vec<_>>(), 0..=4),
            prop::sample::select(vec![ANY_PORT, port(80), port(8080)]),
            vec(0..3_u32, 4),
            vec(any::<bool>(), 4),
        )
            .prop_map(|(hosts, port, weights, keeps)| {
                hosts
                    .into_iter()
                    .zip(weights)
                    .zip(keeps)
                    .map(|((host, weight), keeps)| DesiredBackend {
                        weight,
                        flags: if keeps {
                            BackendFlags::KEEPS_FLOWS
                        } else {
                            BackendFlags::DOWN
                        },
                        ..backend(host, port)
                    })
                    .collect()
            })
    };
    let service = (
        any::<bool>(),
        prop::sample::select(vec![vec![80], vec![443], vec![80, 443], Vec::new()]),
        backends(),
    );
    vec(service, 3).prop_map(|services| Desired {
        services: services
            .into_iter()
            .zip(1..)
            .filter_map(|((present, ports, backends), number)| {
                present.then(|| super::tests::service(&format!("s{number}"), number, &ports, backends))
            })
            .collect(),
    })
}

/// The backends of a service that take new clients.
fn serving(desired: &Desired, name: &str) -> Option<BTreeSet<Address>> {
    let service = desired.services.iter().find(|service| service.name == name)?;
    let serving = service.backends.iter().filter(|backend| backend.weight > 0);
    Some(serving.map(|backend| backend.address).collect())
}

/// What every endpoint of a desired state is to lead to.
fn expected(desired: &Desired) -> HashMap<(Address, Port), (String, BTreeSet<Address>)> {
    let mut expected = HashMap::new();
    for service in &desired.services {
        let backends = serving(desired, &service.name).unwrap();
        let any = vec![ANY_PORT];
        let ports = if service.ports.is_empty() { &any } else { &service.ports };
        for &port in ports {
            expected.insert((service.vip, port), (service.name.clone(), backends.clone()));
        }
    }
    expected
}

proptest! {
    #[test]
    fn every_desired_state_is_reached_without_a_gap(before in any_desired(), after in any_desired()) {
        let start = reach(&State::default(), &before);
        let (old, new) = (expected(&before), expected(&after));
        let endpoints: HashSet<_> = old.keys().chain(new.keys()).copied().collect();

        let mut state = start.clone();
        for operation in diff(&start, &after, LIMITS).unwrap() {
            state.apply(operation.clone());
            for &(address, port) in &endpoints {
                let met = follow(&state, address, port);
                let (was, will_be) = (old.get(&(address, port)), new.get(&(address, port)));
                if was.is_some() && will_be.is_some() {
                    prop_assert!(met.is_some(), "{operation} leaves a gap");
                }
                if let Some((name, backends)) = &met {
                    let named = [was, will_be].into_iter().flatten().any(|(service, _)| service == name);
                    let whole = [&before, &after].iter().any(|desired| serving(desired, name).as_ref() == Some(backends));
                    prop_assert!(named && whole, "{operation} shows {name} with {backends:?}");
                }
            }
        }
        for &(address, port) in &endpoints {
            prop_assert_eq!(follow(&state, address, port), new.get(&(address, port)).cloned());
        }
        prop_assert_eq!(diff(&state, &after, LIMITS), Ok(Vec::new()));
        prop_assert!(state.services.len() == after.services.len());
    }

    #[test]
    fn a_refresh_is_the_difference_where_only_standings_change(
        before in any_desired(),
        which: prop::sample::Index,
        standings in vec((0_u32..3, any::<bool>()), 8),
    ) {
        prop_assume!(!before.services.is_empty());
        let state = reach(&State::default(), &before);
        let mut after = before;
        let service = which.index(after.services.len());
        for (backend, (weight, down)) in after.services[service].backends.iter_mut().zip(standings) {
            backend.weight = weight;
            backend.flags = if down { BackendFlags::DOWN } else { BackendFlags::KEEPS_FLOWS };
        }
        let changed = Desired { services: vec![after.services[service].clone()] };
        let Refresh { mut records, tables } = refresh(&state, &changed).unwrap();
        let DesiredService { name, backends, .. } = &changed.services[0];
        let one_by_one = backends.iter().filter_map(|backend| stand(&state, name, backend.address, backend.port, backend.flags));
        prop_assert_eq!(&records, &one_by_one.collect::<Vec<_>>());
        if !tables.is_empty() {
            records.push(Operation::PublishTables { tables });
        }
        prop_assert_eq!(records, diff(&state, &after, LIMITS).unwrap());
    }

    #[test]
    fn a_step_that_was_cut_short_is_completed_by_the_next(
        before in any_desired(),
        after in any_desired(),
        share in 0.0..1.0,
    ) {
        let mut state = reach(&State::default(), &before);
        let operations = diff(&state, &after, LIMITS).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a count")]
        let done = (operations.len() as f64 * share) as usize;
        for operation in operations.into_iter().take(done) {
            state.apply(operation);
        }
        // A daemon that starts does not know what the published tables were made from.
        state.tables.clear();
        let state = reach(&state, &after);
        for (endpoint, wanted) in expected(&after) {
            prop_assert_eq!(follow(&state, endpoint.0, endpoint.1), Some(wanted));
        }
        prop_assert_eq!(state.services.len(), after.services.len());
    }
}
