//! From one set of source lists to another: no packet is judged by a mixture.

use balancer::{config::Sources, reconcile::DesiredService};
use balancer_common::abi::Tracking;
use balancer_tests::packet::{Action, Host, Interface};

use super::sources::{lists, request, web};
use crate::cases::{Family, V4, V6};

/// Sets of lists, each of which says of many clients what the one before does not.
fn history(family: Family) -> Vec<Option<Sources>> {
    vec![
        None,
        Some(lists(family, &[], &[(0x000, 4), (0x020, 0)])),
        Some(lists(family, &[(0x000, 5), (0x024, 2)], &[(0x008, 3), (0x00a, 0)])),
        Some(lists(family, &[(0x00a, 0), (0x010, 4)], &[(0x000, 6)])),
        Some(lists(family, &[], &[(0x000, 4), (0x020, 0)])),
        None,
    ]
}

const OBSERVED: std::ops::Range<u16> = 0..0x28;

/// Which clients are admitted.
fn admitted(host: &mut Host<'_>, family: Family) -> Vec<u16> {
    let is_admitted = |&number: &u16| {
        let frame = request(family, number).frame();
        host.receive(Interface::CLIENTS, &frame).action == Action::Redirect
    };
    OBSERVED.filter(is_admitted).collect()
}

/// Turns from each set to the next, with packets after each operation.
fn turn_step_by_step(family: Family, sets: &[Option<Sources>], after_each: fn(&mut Host<'_>)) {
    Host::run(|host| {
        let (first, others) = sets.split_first().unwrap();
        // However long it takes, no flow is forgotten meanwhile.
        let web = |set: &Option<Sources>| {
            [DesiredService {
                tracking: Tracking::None,
                ..web(family, set.as_ref())
            }]
        };
        host.serve(web(first));
        for set in others {
            let old = admitted(host, family);
            let mut seen = vec![old.clone()];
            let operations = host.operations_to(web(set));
            assert!(operations.len() > 1);
            for operation in operations {
                host.carry_out(vec![operation]);
                after_each(host);
                seen.push(admitted(host, family));
            }
            // What a daemon does that starts.
            host.serve(web(set));
            let new = admitted(host, family);
            assert_ne!(old, new);
            seen.dedup();
            assert_eq!(seen, [old, new], "all at once, and once");
        }
    });
}

/// Goes back from the last set to the first.
fn go_back_step_by_step(family: Family) {
    let mut sets = history(family);
    sets.reverse();
    turn_step_by_step(family, &sets, |_| {});
}

#[test]
fn a_new_set_for_ipv4_counts_all_at_once() {
    turn_step_by_step(V4, &history(V4), |_| {});
}

#[test]
fn a_new_set_for_ipv6_counts_all_at_once() {
    turn_step_by_step(V6, &history(V6), |_| {});
}

#[test]
fn an_older_set_for_ipv4_counts_all_at_once() {
    go_back_step_by_step(V4);
}

#[test]
fn an_older_set_for_ipv6_counts_all_at_once() {
    go_back_step_by_step(V6);
}

/// Another daemon takes over.
fn restart(host: &mut Host<'_>) {
    host.reopen();
}

#[test]
fn a_daemon_that_starts_in_the_middle_finds_what_it_needs_to_go_on() {
    turn_step_by_step(V4, &history(V4), restart);
}

#[test]
fn a_turn_that_is_given_up_for_another_leaves_nothing_behind() {
    Host::run(|host| {
        let sets = history(V4);
        host.serve([web(V4, sets[1].as_ref())]);
        let clean = host.dataplane().state().access.clone();
        for given_up in 1..5 {
            for set in &sets[2..4] {
                let mut operations = host.operations_to([web(V4, set.as_ref())]);
                operations.truncate(given_up);
                host.carry_out(operations);
                host.reopen();
            }
            host.serve([web(V4, sets[1].as_ref())]);
            host.reopen();
            assert_eq!(host.dataplane().state().access, clean);
        }
    });
}
