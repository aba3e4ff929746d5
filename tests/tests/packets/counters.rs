//! What is counted where backends come and go.

use std::net::SocketAddr;

use balancer_common::abi::{Traffic, protocol::TCP};
use balancer_tests::packet::{Action, Host, Interface, Packet, Transport, backend, service};

use crate::cases::V4;

const BACKENDS: [&str; 2] = ["10.2.0.1:8080", "10.2.0.2:8080"];

/// Serves with these of the backends.
fn serve(host: &mut Host<'_>, numbers: &[usize]) {
    let backends = numbers.iter().map(|&number| backend(BACKENDS[number].parse().unwrap()));
    host.serve([service("web", V4.vip, TCP, &[80], backends)]);
}

/// Sends the first packets of so many flows.
fn send(host: &mut Host<'_>, flows: u16) {
    for port in 1..=flows {
        let packet = Packet::new(
            Transport::syn(),
            SocketAddr::new(V4.client, port),
            SocketAddr::new(V4.vip, 80),
        );
        assert_eq!(
            host.receive(Interface::CLIENTS, &packet.frame()).action,
            Action::Redirect
        );
    }
}

fn of_service(host: &mut Host<'_>) -> Traffic {
    let index = host.dataplane().state().index.services["web"];
    host.dataplane().service_traffic().unwrap()[index as usize]
}

fn of_backend(host: &mut Host<'_>, number: usize) -> Traffic {
    let index = host.backend_index("web", BACKENDS[number].parse().unwrap());
    host.dataplane().backend_traffic().unwrap()[index as usize]
}

#[test]
fn a_service_keeps_what_backends_have_seen_that_leave_it() {
    Host::run(|host| {
        serve(host, &[0, 1]);
        send(host, 100);
        let all = of_service(host);
        assert_eq!((all.packets, all.new_flows), (100, 100));
        let gone = of_backend(host, 0);
        assert!((1..100).contains(&gone.packets), "{gone:?}");

        serve(host, &[1]);
        assert_eq!(of_service(host), all);
        host.reopen();
        assert_eq!(of_service(host), all);

        serve(host, &[0, 1]);
        assert_eq!(of_service(host), all);
        assert_eq!(of_backend(host, 0), Traffic::default());
        send(host, 100);
        assert_eq!(of_service(host).packets, 200);

        serve(host, &[]);
        assert_eq!(of_service(host).packets, 200);
    });
}

#[test]
fn a_service_begins_with_nothing() {
    Host::run(|host| {
        serve(host, &[0, 1]);
        send(host, 10);
        serve(host, &[1]);
        host.serve([]);
        serve(host, &[0, 1]);
        assert_eq!(of_service(host), Traffic::default());
    });
}
