//! The counters of dropped packets.

use std::{
    collections::BTreeMap,
    io,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::demo::{
    clients::Clients,
    judge,
    report::{Report, table},
    stage::{Service, Stage},
};

/// Packets to each service whose lifetime ends at the balancer.
const EXPIRING: u32 = 5;

/// Datagrams that have to be cut up.
const DATAGRAMS: u32 = 4;

/// Their length, UDP header included.
const DATAGRAM: u32 = 3_000;

/// What a fragment holds of a datagram: the lab's MTU of 1500 without the IPv4 header.
const FRAGMENT: u32 = 1_480;

/// How long packets may take to arrive and be counted.
const PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let fragments = DATAGRAM.div_ceil(FRAGMENT);
    report.act(
        "Every dropped packet is counted by its reason",
        &format!(
            "Packets that must not get through: {EXPIRING} over IPv4 and {EXPIRING} over IPv6 whose TTL or hop limit is \
             1, and {DATAGRAMS} datagrams of {DATAGRAM} bytes to the VIP, which leave the client in {fragments} \
             fragments each. `balancer_drops_total` tells them apart by reason."
        ),
    );
    let before = stage.scrape()?.drops();
    let mut expected = before.clone();
    for (reason, packets) in [("ttl_expired", 2 * EXPIRING), ("fragment", DATAGRAMS * fragments)] {
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
    }
    let payload = vec![0; (DATAGRAM - 8) as usize];
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for _ in 0..DATAGRAMS {
        socket.send_to(&payload, Service::Web.vip())?;
    }
    Ok(())
}
