//! Which service a packet is for.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use balancer_common::{
    abi::{
        EndpointKey, Role,
        protocol::{TCP, UDP},
    },
    shortcuts,
};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, backend, next_hop, read, service};

use crate::cases::V4;

fn destination(host: &mut Host<'_>, transport: Transport, service: SocketAddr) -> Option<SocketAddr> {
    let packet = Packet::new(transport, SocketAddr::new(V4.client, 40_000), service);
    let outcome = host.receive(Interface::CLIENTS, &packet.frame());
    match outcome.action {
        Action::Redirect => Some(read(&outcome.frame).destination),
        Action::Pass => None,
        action => panic!("{service}: {action:?}"),
    }
}

#[test]
fn a_service_on_the_port_goes_before_one_on_every_port() {
    let [web, any, dns] = [1, 2, 3].map(|last| SocketAddr::from(([10, 2, 0, last], 8080)));
    Host::run(|host| {
        host.serve([
            service("any", V4.vip, TCP, &[], [backend(any)]),
            service("web", V4.vip, TCP, &[80, 443], [backend(web)]),
            service("dns", V4.vip, UDP, &[53], [backend(dns)]),
        ]);
        for (transport, port, expected) in [
            (Transport::syn(), 80, Some(web)),
            (Transport::syn(), 443, Some(web)),
            (Transport::syn(), 22, Some(any)),
            (Transport::syn(), 53, Some(any)),
            (Transport::syn(), 0, Some(any)),
            (Transport::syn(), 65_535, Some(any)),
            (Transport::Udp, 53, Some(dns)),
            (Transport::Udp, 80, None),
            (Transport::Udp, 0, None),
        ] {
            let target = destination(host, transport, SocketAddr::new(V4.vip, port));
            assert_eq!(target, expected, "port {port}");
        }
        assert_eq!(
            destination(host, Transport::syn(), SocketAddr::new(V4.other_vip, 80)),
            None
        );
    });
}

/// Two VIPs of which only one can have a shortcut for port 80.
fn rivals() -> [IpAddr; 2] {
    let mut seen = HashMap::new();
    for number in 0..=shortcuts::PLACES {
        let [_, second, third, fourth] = number.to_be_bytes();
        let vip = IpAddr::from([100, 64 + second, third, fourth]);
        let key = EndpointKey::new(Role::Service, vip.into(), 80_u16.to_be_bytes(), TCP);
        if let Some(other) = seen.insert(shortcuts::place(&key), vip) {
            return [other, vip];
        }
    }
    panic!("more addresses than places have none in common");
}

#[test]
fn who_has_no_shortcut_is_found_all_the_same() {
    let vips = rivals();
    let targets = [1, 2].map(|last| SocketAddr::from(([10, 2, 0, last], 8080)));
    let names = ["one", "other"];
    Host::run(|host| {
        for present in [vec![0], vec![0, 1], vec![1], vec![1, 0], vec![], vec![1, 0]] {
            host.serve(present.iter().map(|&number: &usize| {
                let (vip, target) = (vips[number], targets[number]);
                service(names[number], vip, TCP, &[80], [backend(target)])
            }));
            let expected = [0, 1].map(|number| present.contains(&number).then_some(targets[number]));
            let found =
                |host: &mut Host<'_>| vips.map(|vip| destination(host, Transport::syn(), SocketAddr::new(vip, 80)));
            assert_eq!(found(host), expected, "{present:?}");
            host.reopen();
            assert_eq!(found(host), expected, "{present:?}, opened anew");
        }
    });
}

#[test]
fn an_address_means_something_as_long_as_a_service_has_it() {
    let target = SocketAddr::from(([10, 2, 0, 1], 8080));
    let web = || service("web", V4.vip, TCP, &[80], [backend(target)]);
    let mail = || service("mail", V4.vip, TCP, &[25], [backend(target)]);
    let other = || service("other", V4.other_vip, TCP, &[], [backend(target)]);
    let present = |host: &mut Host<'_>| {
        [(V4.vip, 80), (V4.vip, 25), (V4.other_vip, 7)]
            .map(|(vip, port)| destination(host, Transport::syn(), SocketAddr::new(vip, port)).is_some())
    };
    Host::run(|host| {
        let steps = [
            (vec![], [false, false, false]),
            (vec![web()], [true, false, false]),
            (vec![web(), mail()], [true, true, false]),
            (vec![mail(), other()], [false, true, true]),
            (vec![mail()], [false, true, false]),
            (vec![], [false, false, false]),
            (vec![other()], [false, false, true]),
        ];
        for (services, expected) in steps {
            host.serve(services);
            assert_eq!(present(host), expected);
            host.reopen();
            assert_eq!(present(host), expected, "opened anew");
        }
    });
}

#[test]
fn each_of_many_services_is_found_and_no_other() {
    const SERVICES: u16 = 500;
    /// Two services to each VIP.
    fn vip(number: u16) -> IpAddr {
        let [high, low] = (number / 2).to_be_bytes();
        Ipv4Addr::new(203, 0, high, low).into()
    }
    fn port(number: u16) -> u16 {
        if number.is_multiple_of(2) { 80 } else { 443 }
    }
    fn target(number: u16) -> SocketAddr {
        let [high, low] = number.to_be_bytes();
        SocketAddr::from(([10, 2, high, low], 8080))
    }
    Host::run(|host| {
        host.serve((0..SERVICES).map(|number| {
            let backends = [backend(target(number))];
            service(&number.to_string(), vip(number), TCP, &[port(number)], backends)
        }));
        for number in 0..SERVICES {
            let packet = Packet::new(
                Transport::syn(),
                SocketAddr::new(V4.client, 40_000),
                SocketAddr::new(vip(number), port(number)),
            );
            let target = target(number);
            host.receive(Interface::CLIENTS, &packet.frame()).assert(
                &format!("service {number}"),
                Action::Redirect,
                &packet.forwarded(next_hop(target.ip()), target).frame(),
            );
            for elsewhere in [
                SocketAddr::new(vip(number), 22),
                SocketAddr::new(vip(number + SERVICES), port(number)),
            ] {
                assert_eq!(destination(host, Transport::syn(), elsewhere), None, "{elsewhere}");
            }
        }
    });
}

#[test]
fn a_service_that_is_gone_leaves_its_packets_to_the_host() {
    let (web, api) = (SocketAddr::new(V4.backend, 80), SocketAddr::new(V4.other_backend, 80));
    Host::run(|host| {
        let services = || {
            [
                service("web", V4.vip, TCP, &[80], [backend(web)]),
                service("api", V4.other_vip, TCP, &[80], [backend(api)]),
            ]
        };
        host.serve(services());
        assert_eq!(
            destination(host, Transport::syn(), SocketAddr::new(V4.vip, 80)),
            Some(web)
        );
        host.serve(services().into_iter().skip(1));
        assert_eq!(destination(host, Transport::syn(), SocketAddr::new(V4.vip, 80)), None);
        assert_eq!(
            destination(host, Transport::syn(), SocketAddr::new(V4.other_vip, 80)),
            Some(api)
        );
    });
}
