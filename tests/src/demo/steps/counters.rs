//! The balancer's counters of packets beside those of the client's kernel.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use balancer::control::protocol::BackendView;

use crate::{
    demo::{
        attempt::answers,
        clients::Clients,
        judge,
        report::{Report, table},
        stage::{Service, Stage},
    },
    lab::Namespace,
};

/// Requests that are counted.
const REQUESTS: usize = 60;

/// How long packets may take to arrive and be counted.
const PATIENCE: Duration = Duration::from_secs(5);

/// IPv4 packets and their bytes towards the backends, and the same of the replies.
type Traffic = [u64; 4];

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    report.act(
        "The counters agree with the client's kernel",
        &format!(
            "{REQUESTS} more newcomers over IPv4. The figures of `balancer backend list -o json` stand beside those that \
             the client's own kernel has counted at the other end."
        ),
    );
    let kernel_before = await_quiet(clients)?;
    let before = stage.backends(Service::Web);
    let attempts = (0..REQUESTS).map(|_| clients.visit(clients.newcomer(Service::Web)));
    let attempts = attempts.collect::<anyhow::Result<Vec<_>>>()?;
    let kernel = difference(await_quiet(clients)?, kernel_before);
    let after = stage.backends(Service::Web);

    let (mut rows, mut new_flows, mut sum) = (Vec::new(), Vec::new(), Traffic::default());
    let answers = answers(&attempts);
    for ((before, after), answers) in before.iter().zip(&after).zip(answers) {
        let flows = after.new_flows - before.new_flows;
        let traffic = difference(counted(after), counted(before));
        rows.push(row(&after.name, &answers.to_string(), &flows.to_string(), traffic));
        new_flows.push(flows);
        for (sum, figure) in sum.iter_mut().zip(traffic) {
            *sum += figure;
        }
    }
    rows.push(row("all", "", "", sum));
    rows.push(row("client's kernel", "", "", kernel));
    table(
        [
            "backend",
            "answers seen",
            "new flows",
            "packets",
            "bytes",
            "replies",
            "reply bytes",
        ],
        rows,
    );
    report.claim(
        "Each backend's new flows are the connections that it answered",
        judge::all_answered(&attempts).and(judge::same(&new_flows, &answers.map(u64::from).to_vec())),
    );
    report.claim(
        "Packets and bytes of all backends are those that the client's kernel sent and received",
        judge::same(&sum, &kernel),
    );
    Ok(())
}

fn row(name: &str, answers: &str, flows: &str, traffic: Traffic) -> [String; 7] {
    let [packets, bytes, replies, reply_bytes] = traffic.map(|figure| figure.to_string());
    [
        name.to_owned(),
        answers.to_owned(),
        flows.to_owned(),
        packets,
        bytes,
        replies,
        reply_bytes,
    ]
}

const fn counted(backend: &BackendView) -> Traffic {
    [
        backend.packets,
        backend.bytes,
        backend.reply_packets,
        backend.reply_bytes,
    ]
}

fn difference(later: Traffic, earlier: Traffic) -> Traffic {
    std::array::from_fn(|figure| later[figure] - earlier[figure])
}

/// Waits until the last packets of closed connections have arrived. Returns what the client's kernel has counted.
fn await_quiet(clients: &Clients<'_>) -> anyhow::Result<Traffic> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = kernel_counters(clients.host)?;
    loop {
        clients.check()?;
        thread::sleep(Duration::from_millis(100));
        let now = kernel_counters(clients.host)?;
        if now == last || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// What the kernel of a host has sent and received.
fn kernel_counters(host: &Namespace) -> anyhow::Result<Traffic> {
    // The thread stands in another namespace than its process.
    let read = |name| host.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{name}")));
    let (snmp, netstat) = (read("snmp")?, read("netstat")?);
    let counters = [
        counter(&snmp, "Ip", "OutRequests"),
        counter(&netstat, "IpExt", "OutOctets"),
        counter(&snmp, "Ip", "InReceives"),
        counter(&netstat, "IpExt", "InOctets"),
    ];
    let [Some(packets), Some(bytes), Some(replies), Some(reply_bytes)] = counters else {
        anyhow::bail!("the kernel does not count packets or bytes");
    };
    Ok([packets, bytes, replies, reply_bytes])
}

/// A counter in the format of these files: for each group one line of names and one of values.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next()?.split(' '), lines.next()?.split(' '));
    let (_, value) = names.zip(values).find(|(candidate, _)| *candidate == name)?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_counter_is_found_by_its_group_and_name() {
        let text = "Tcp: InSegs OutSegs\nTcp: 5 6\nIp: InReceives OutRequests\nIp: 7 8\nIpExt: InReceives\nIpExt: 9\n";
        for (group, name, expected) in [
            ("Tcp", "OutSegs", Some(6)),
            ("Ip", "InReceives", Some(7)),
            ("IpExt", "InReceives", Some(9)),
            ("Ip", "OutSegs", None),
            ("Udp", "InSegs", None),
        ] {
            assert_eq!(counter(text, group, name), expected, "{group} {name}");
        }
    }
}
