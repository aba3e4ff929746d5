//! What a scrape costs. The time is printed; whether it is short is for people to judge.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use balancer_tests::lab::{Arms, Balancer, Network, Service};

const SERVICES: u16 = 1_000;
const BACKENDS: u8 = 100;

#[test]
#[ignore = "takes a minute and a gigabyte: cargo nextest run --release --run-ignored only --no-capture -E 'binary(scrape)'"]
fn a_hundred_thousand_backends_are_scraped() {
    let network = Network::new(Arms::Two, 1);
    for backend in 0..BACKENDS {
        network.backends[0].ip(&format!("address add 10.2.0.{}/24 dev eth0", 100 + backend));
    }
    let mut services = String::new();
    for number in 0..SERVICES {
        let mut service = Service::tcp(&format!("service-{number}"), Network::VIP, &[10_000 + number])
            .health("kind = \"tcp\"\ninterval = \"1h\"\ntimeout = \"1s\"");
        for backend in 0..BACKENDS {
            let address = format!("10.2.0.{}:{}", 100 + backend, 10_000 + number);
            service = service.backend(&format!("backend-{backend}"), &address);
        }
        let text = service.to_string().replace("protocol", "maglev_size = 1009\nprotocol");
        services.write_str(&text).unwrap();
    }
    let mut balancer = Balancer::new(&network.balancer, &network.interfaces, "");
    balancer.settings.max_backends = 110_000;
    balancer.configure(&services);
    let started = Instant::now();
    balancer.run();
    println!("started in {:.1?}", started.elapsed());
    // The first probes of all backends come within a second.
    let probes = usize::from(SERVICES) * usize::from(BACKENDS);
    let deadline = started + Duration::from_mins(5);
    for _ in 0..3 {
        loop {
            assert!(Instant::now() < deadline, "the backends have not been probed");
            let asked = Instant::now();
            // While all are being probed, an answer may take too long.
            let Ok(reply) = balancer.scrape("/metrics") else {
                continue;
            };
            let (took, text) = (asked.elapsed(), reply.text());
            println!(
                "{} lines, {} MB in {took:.1?}",
                text.lines().count(),
                text.len() / 1_000_000
            );
            assert!(text.lines().count() > probes * 24);
            if failures(&text) == probes {
                break;
            }
        }
    }
}

/// How many probes have failed, of all backends.
fn failures(metrics: &str) -> usize {
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("balancer_backend_health_checks_total{"));
    let failures = samples.filter(|line| line.contains("result=\"failure\""));
    failures
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}
