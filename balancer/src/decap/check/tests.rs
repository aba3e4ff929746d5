use super::*;

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

fn question(vip: &str, delivery: Option<Delivery>) -> Question {
    Question {
        vip: vip.parse().unwrap(),
        interface: "eth0".to_owned(),
        delivery,
    }
}

fn owner(interface: &str, prefix_length: u8) -> Owner {
    Owner {
        interface: interface.to_owned(),
        prefix_length,
    }
}

fn both(value: u32) -> Parameter {
    Parameter {
        all: value,
        interface: value,
    }
}

/// A host that lacks nothing.
fn ready(prefix_length: u8) -> Facts {
    Facts {
        owners: vec![owner("lo", prefix_length)],
        arp_ignore: both(1),
        arp_announce: both(2),
        rp_filter: both(0),
        decapsulation: Decapsulation::Attached(AttachedMode::Native),
        tunnels: Vec::new(),
        mtu: 1_500,
    }
}

/// What has to be mended.
fn mends(question: &Question, facts: &Facts) -> Vec<String> {
    findings(question, facts)
        .into_iter()
        .filter(|finding| finding.level == Level::Missing)
        .filter_map(|finding| finding.mend)
        .collect()
}

#[test]
fn a_host_that_is_ready_lacks_nothing() {
    for (vip, prefix_length) in [(V4, 32), (V6, 128)] {
        for delivery in [None, Some(Delivery::Dsr), Some(Delivery::Ipip), Some(Delivery::Gue)] {
            assert_eq!(
                mends(&question(vip, delivery), &ready(prefix_length)),
                Vec::<String>::new(),
                "{vip} {delivery:?}"
            );
        }
    }
}

#[test]
fn each_lack_has_its_mend() {
    type Case = (&'static str, fn(&mut Facts), &'static str);
    let lo = "ip address add 192.0.2.10/32 dev lo";
    let cases: [Case; 8] = [
        ("no address", |facts| facts.owners.clear(), lo),
        (
            "on the interface itself",
            |facts| facts.owners.push(owner("eth0", 24)),
            "ip address del 192.0.2.10/24 dev eth0 && ip address add 192.0.2.10/32 dev lo",
        ),
        (
            "a whole network on lo",
            |facts| facts.owners = vec![owner("lo", 24)],
            "ip address del 192.0.2.10/24 dev lo && ip address add 192.0.2.10/32 dev lo",
        ),
        (
            "arp_ignore",
            |facts| facts.arp_ignore = both(0),
            "sysctl -w net.ipv4.conf.all.arp_ignore=1",
        ),
        (
            "arp_announce 0",
            |facts| facts.arp_announce = both(0),
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
        ),
        (
            "arp_announce 1",
            |facts| facts.arp_announce = both(1),
            "sysctl -w net.ipv4.conf.all.arp_announce=2",
        ),
        (
            "nothing at the end of the tunnel",
            |facts| facts.decapsulation = Decapsulation::Absent,
            "balancer decap --interface eth0 --allow BALANCER",
        ),
        (
            "something else at the end of the tunnel",
            |facts| facts.decapsulation = Decapsulation::Occupied,
            "remove it, then balancer decap --interface eth0 --allow BALANCER",
        ),
    ];
    for (case, change, mend) in cases {
        let mut facts = ready(32);
        change(&mut facts);
        assert_eq!(mends(&question(V4, Some(Delivery::Gue)), &facts), [mend], "{case}");
    }
}

#[test]
fn the_larger_value_of_a_kernel_parameter_counts() {
    for (all, interface) in [(1, 0), (0, 1)] {
        let facts = Facts {
            arp_ignore: Parameter { all, interface },
            ..ready(32)
        };
        assert!(mends(&question(V4, None), &facts).is_empty());
    }
}

#[test]
fn arp_does_not_matter_to_an_ipv6_vip() {
    let facts = Facts {
        arp_ignore: both(0),
        arp_announce: both(0),
        rp_filter: both(1),
        ..ready(128)
    };
    assert!(mends(&question(V6, None), &facts).is_empty());
    assert!(
        findings(&question(V6, None), &facts)
            .iter()
            .all(|finding| finding.level != Level::Note)
    );
}

#[test]
fn dsr_needs_no_end_of_a_tunnel() {
    let facts = Facts {
        decapsulation: Decapsulation::Absent,
        ..ready(32)
    };
    assert!(mends(&question(V4, Some(Delivery::Dsr)), &facts).is_empty());
    // Whether there is one cannot be told without knowing how packets come.
    assert!(mends(&question(V4, None), &facts).is_empty());
    assert_eq!(mends(&question(V4, Some(Delivery::Ipip)), &facts).len(), 1);
}

#[test]
fn a_tunnel_interface_of_the_kernel_will_do() {
    let facts = Facts {
        decapsulation: Decapsulation::Absent,
        tunnels: vec!["tunl0".to_owned()],
        ..ready(32)
    };
    assert!(mends(&question(V4, Some(Delivery::Ipip)), &facts).is_empty());
}

#[test]
fn strict_filtering_by_the_way_back_is_worth_a_note() {
    let facts = Facts {
        rp_filter: both(1),
        ..ready(32)
    };
    let findings = findings(&question(V4, Some(Delivery::Dsr)), &facts);
    let notes: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Note).collect();
    assert_eq!(notes.len(), 1, "{findings:?}");
    assert_eq!(
        notes[0].mend.as_deref(),
        Some("if they do not: sysctl -w net.ipv4.conf.eth0.rp_filter=2")
    );
}
