//! The counters of dropped packets.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::demo::{
    clients::Clients,
    judge,
    report::{Report, table},
    stage::{Service, Stage},
};

/// Packets to each service whose lifetime ends at the balancer.
const EXPIRING: u32 = 5;

/// TCP segments to each service whose header is cut off.
const CUT_OFF: u32 = 4;

/// Bytes that are left of it.
const REST: usize = 10;

/// How long packets may take to arrive and be counted.
const PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    report.act(
        "Every dropped packet is counted by its reason",
        &format!(
            "Packets that must not get through: {EXPIRING} over IPv4 and {EXPIRING} over IPv6 whose TTL or hop limit is \
             1, and {CUT_OFF} TCP segments to each VIP with {REST} bytes of their header. `balancer_drops_total` tells \
             them apart by reason."
        ),
    );
    let before = stage.scrape()?.drops();
    let mut expected = before.clone();
    for (reason, packets) in [("ttl_expired", 2 * EXPIRING), ("malformed", 2 * CUT_OFF)] {
        *expected.entry(reason.to_owned()).or_default() += u64::from(packets);
    }
    clients.host.enter(send)?;
    let deadline = Instant::now() + PATIENCE;
    let mut counted = stage.scrape()?.drops();
    while counted != expected && Instant::now() < deadline {
        clients.check()?;
        thread::sleep(Duration::from_millis(20));
        counted = stage.scrape()?.drops();
    }
    let [sent, counted] = [expected, counted].map(|later| since(&before, later));
    table(
        ["reason", "sent", "counted"],
        sent.iter().map(|(reason, sent)| {
            let counted = counted.get(reason).copied().unwrap_or(0);
            [reason.clone(), sent.to_string(), counted.to_string()]
        }),
    );
    report.claim(
        "Every dropped packet is counted once, under its reason, and nothing else was dropped",
        judge::same(&counted, &sent),
    );
    Ok(())
}

fn since(before: &BTreeMap<String, u64>, later: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let increase = |(reason, count)| {
        let earlier = before.get(&reason).copied().unwrap_or(0);
        (reason, count - earlier)
    };
    later.into_iter().map(increase).collect()
}

fn send() -> io::Result<()> {
    for service in Service::ALL {
        let vip = service.vip();
        for _ in 0..EXPIRING {
            let socket = Socket::new(Domain::for_address(vip), Type::STREAM, None)?;
            match service {
                Service::Web => socket.set_ttl_v4(1)?,
                Service::Web6 => socket.set_unicast_hops_v6(1)?,
            }
            socket.set_nonblocking(true)?;
            // It sends its first packet at once and is closed before it would send another.
            let _in_progress: io::Result<()> = socket.connect(&vip.into());
        }
        let socket = Socket::new(Domain::for_address(vip), Type::RAW, Some(Protocol::TCP))?;
        // A raw IPv6 socket takes the port for a protocol.
        let receiver = SocketAddr::new(vip.ip(), 0);
        for _ in 0..CUT_OFF {
            socket.send_to(&[0; REST], &receiver.into())?;
        }
    }
    Ok(())
}
