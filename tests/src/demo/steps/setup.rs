//! What stands where.

use std::{
    thread,
    time::{Duration, Instant},
};

use balancer::{control::protocol::Status, health::Health, neighbors::AttachedMode};

use crate::{
    demo::{
        clients::Clients,
        judge,
        report::{Report, draw, table},
        stage::{HEALTHY_THRESHOLD, NAMES, PROBE_INTERVAL, SERVER_PORT, Service, Stage, UNHEALTHY_THRESHOLD},
    },
    lab::Network,
};

/// How long the first health checks may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Says what is being set up, before it takes its second or two.
pub(in crate::demo) fn announce(report: &mut Report) {
    report.act(
        "Three servers stand behind XDP in native mode",
        &format!(
            "Every host below is a network namespace with its own interfaces, addresses and routes. The clients know \
             nothing but the two VIPs. The servers are real processes that keep what they count in memory. The \
             balancer daemon loads an XDP program onto eth0 and eth1 of its host: packets to a VIP are rewritten and \
             sent on to a backend before the host's network stack sees them, and so are the replies. It probes every \
             backend each {PROBE_INTERVAL} ms, takes it out after {UNHEALTHY_THRESHOLD} failed probes in a row and back \
             in after {HEALTHY_THRESHOLD} good ones."
        ),
    );
    draw(&drawing());
}

fn drawing() -> String {
    let [web, web6] = Service::ALL.map(|service| service.vip().to_string());
    let [b0, b1, b2] = [0, 1, 2].map(|number| {
        let (v4, v6) = (Network::backend(number), Network::backend6(number));
        format!("{}  {v4}  {v6}", NAMES[usize::from(number)])
    });
    format!(
        "                          balancer host\n\
         \x20                    XDP ┌─────────────────────┐ XDP\n\
         \x2010.1.2.0/23             │ VIPs:               │            ┌── {b0}\n\
         \x20fd00:1:0:2::/63 ── eth0 │ {web:19} │ eth1 ──────┼── {b1}\n\
         \x20                        │ {web6:19} │            └── {b2}\n\
         \x20clients                 └─────────────────────┘                backends, port {SERVER_PORT}"
    )
}

/// Shows that it stands.
pub(in crate::demo) fn check(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let up = await_health(clients, stage)?;
    let interfaces = stage.balancer.json::<Status>(&["status"]).dataplane.interfaces;
    table(
        ["interface", "XDP mode", "program"],
        interfaces.iter().map(|interface| {
            [
                interface.name.clone(),
                format!("{:?}", interface.mode).to_lowercase(),
                interface.program_id.to_string(),
            ]
        }),
    );
    let native = interfaces
        .iter()
        .filter(|interface| interface.mode == AttachedMode::Native);
    report.claim(
        "The XDP program runs in the driver (native mode) on both interfaces of the balancer host",
        judge::same(
            &native.map(|interface| interface.name.as_str()).collect(),
            &stage.network.interfaces,
        ),
    );
    report.claim(
        "The health checks find all backends up, over IPv4 and over IPv6",
        judge::same(&up, &[NAMES.len(); 2]),
    );
    Ok(())
}

/// Waits for every backend to be found up. Returns how many are, by service.
fn await_health(clients: &Clients<'_>, stage: &Stage<'_>) -> anyhow::Result<[usize; 2]> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        clients.check()?;
        let up = Service::ALL.map(|service| {
            let backends = stage.backends(service);
            backends.iter().filter(|backend| backend.health == Health::Up).count()
        });
        if up == [NAMES.len(); 2] || Instant::now() > deadline {
            return Ok(up);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
