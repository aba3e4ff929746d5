//! What it costs to probe two thousand backends every second, whether the probes are on time, and whether packets notice.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde::Serialize;
use serde_json::Value;

use super::{machine::Machine, output::Output, progress::Progress};
use crate::lab::{Arms, Balancer, Farm, Namespace, Network, Service, UdpClient};

const SERVICES: u16 = 20;
const BACKENDS: u8 = 100;
const ALL: u32 = SERVICES as u32 * BACKENDS as u32;
const FIRST_PORT: u16 = 10_000;
/// How long each state is watched.
const WATCHED: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(1);
/// A probe is on time that comes an interval after the last one, give or take this.
const TOLERANCE: Duration = Duration::from_millis(100);
const VIP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Network::VIP), 53);
/// Time between two packets of the client's.
const PACE: Duration = Duration::from_millis(1);

/// What was seen while the backends were probed so often.
#[derive(Debug, Serialize)]
struct Figures {
    interval: String,
    probes_per_second: f64,
    /// Of the probes, 0 to 1.
    on_time: f64,
    /// Of one core, 0 to 1.
    cpu: f64,
    resident_megabytes: f64,
    packets: u64,
    lost: u64,
    nanoseconds_per_packet: f64,
    median_answer_microseconds: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    machine: Machine,
    backends: u32,
    figures: Vec<Figures>,
}

/// When each backend was asked last, and how many probes came when they should.
#[derive(Default)]
struct Log {
    last: HashMap<SocketAddr, Instant>,
    on_time: u64,
    probes: u64,
}

impl Log {
    fn note(&mut self, backend: SocketAddr, now: Instant) {
        if let Some(last) = self.last.insert(backend, now) {
            self.probes += 1;
            self.on_time += u64::from((now - last).abs_diff(INTERVAL) <= TOLERANCE);
        }
    }
}

/// Runs the benchmark.
pub(super) fn run(output: &Output) -> anyhow::Result<()> {
    let progress = Progress::new("probes");
    let mut figures = Vec::new();
    for interval in ["1h", "1s"] {
        progress.show(&format!("2,000 backends, each probed every {interval}"));
        figures.push(watch(interval)?);
    }
    drop(progress);
    for figures in &figures {
        println!("{ALL} backends, each probed every {}:", figures.interval);
        println!(
            "  {:.0} probes a second, {:.2} % of them on time",
            figures.probes_per_second,
            figures.on_time * 100.0
        );
        println!(
            "  daemon: {:.1} % of a core, {:.1} MB resident",
            figures.cpu * 100.0,
            figures.resident_megabytes
        );
        println!(
            "  {} packets meanwhile, {} lost, {:.0} ns each in the program, answered after {:.0} µs (median)",
            figures.packets, figures.lost, figures.nanoseconds_per_packet, figures.median_answer_microseconds
        );
    }
    let report = Report {
        benchmark: "probes",
        machine: Machine::this(),
        backends: ALL,
        figures,
    };
    println!("{}", report.machine.describe());
    output.json("probes", &report)
}

/// Has the backends probed at this interval, and watches the daemon, the probes and a client's packets.
fn watch(interval: &str) -> anyhow::Result<Figures> {
    let network = Network::new(Arms::Two, 2);
    let _dns = Farm::udp(&network, 5353);
    let host = &network.backends[0];
    let listeners = listen(host)?;
    let mut services = Service::udp("names", Network::VIP, &[53]).backends(2, 5353).to_string();
    for number in 0..SERVICES {
        let port = FIRST_PORT + number;
        let check = format!("kind = \"tcp\"\ninterval = \"{interval}\"\ntimeout = \"900ms\"");
        let mut service = Service::tcp(&format!("service-{number}"), Network::VIP, &[port]).health(&check);
        for backend in 0..BACKENDS {
            service = service.backend(
                &format!("b{backend}"),
                &SocketAddr::from((address(backend), port)).to_string(),
            );
        }
        let text = service.to_string().replace("protocol", "maglev_size = 10007\nprotocol");
        services.write_str(&text)?;
    }
    let mut balancer = Balancer::start(&network.balancer, &network.interfaces, &services);
    let log = Mutex::new(Log::default());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| serve(listener, &log, &over));
        }
        let figures = observe(&network, &mut balancer, &log, interval);
        over.store(true, Ordering::Relaxed);
        drop(balancer);
        host.enter(|| {
            for number in 0..SERVICES {
                // They look up when somebody comes.
                let _refused = std::net::TcpStream::connect((address(0), FIRST_PORT + number));
            }
        });
        figures
    })
}

fn address(backend: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 100 + backend)
}

/// The sockets of all backends: one for each service, at all addresses.
fn listen(host: &Namespace) -> anyhow::Result<Vec<TcpListener>> {
    for backend in 0..BACKENDS {
        host.ip(&format!("address add {}/24 dev eth0", address(backend)));
    }
    let ports = FIRST_PORT..FIRST_PORT + SERVICES;
    host.enter(|| {
        ports
            .map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("a port is taken"))
            .collect()
    })
}

fn serve(listener: &TcpListener, log: &Mutex<Log>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let now = Instant::now();
        if let (Ok(backend), Ok(mut log)) = (stream.local_addr(), log.lock()) {
            log.note(backend, now);
        }
    }
}

fn observe(
    network: &Network,
    balancer: &mut Balancer<'_>,
    log: &Mutex<Log>,
    interval: &str,
) -> anyhow::Result<Figures> {
    // The first probes, and what comes at the start, are over by then.
    thread::sleep(3 * INTERVAL);
    let pid = balancer.process().pid();
    let status: Value = balancer.json(&["status"]);
    let program = status["dataplane"]["interfaces"][0]["program_id"].as_u64();
    let program = u32::try_from(program.context("the program has a number")?)?;
    let _counting = enable_stats(Stats::RunTime).context("the kernel does not count the time of programs")?;
    *log.lock().map_err(|_poisoned| anyhow::anyhow!("a server failed"))? = Log::default();
    let (cpu_before, program_before) = (cpu(pid)?, run_time(program)?);
    let began = Instant::now();
    let answers = converse(network)?;
    let lasted = began.elapsed();
    let (cpu_after, program_after) = (cpu(pid)?, run_time(program)?);
    let log = log.lock().map_err(|_poisoned| anyhow::anyhow!("a server failed"))?;
    let runs = program_after.1 - program_before.1;
    ensure!(runs > 0, "no packet has met the program");
    let mut delays: Vec<_> = answers.iter().flatten().collect();
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).context("no packet was answered")?;
    Ok(Figures {
        interval: interval.to_owned(),
        probes_per_second: ratio(log.probes, 1) / lasted.as_secs_f64(),
        on_time: ratio(log.on_time, log.probes.max(1)),
        cpu: cpu_after.saturating_sub(cpu_before).as_secs_f64() / lasted.as_secs_f64(),
        resident_megabytes: resident(pid)? / 1e6,
        packets: answers.len() as u64,
        lost: answers.iter().filter(|answer| answer.is_none()).count() as u64,
        nanoseconds_per_packet: ratio(program_after.0 - program_before.0, runs),
        median_answer_microseconds: median.as_secs_f64() * 1e6,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of half a minute are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A client that asks at a steady pace. How long each answer took, of those that came.
fn converse(network: &Network) -> anyhow::Result<Vec<Option<Duration>>> {
    let client = UdpClient::new(&network.client, SocketAddr::from((Network::CLIENT, 0)))?;
    let deadline = Instant::now() + WATCHED;
    let mut answers = Vec::new();
    while Instant::now() < deadline {
        let asked = Instant::now();
        answers.push(client.ask(VIP, b"who?").ok().map(|_answer| asked.elapsed()));
        thread::sleep(PACE.saturating_sub(asked.elapsed()));
    }
    Ok(answers)
}

/// Nanoseconds that the program has run for, and how often.
fn run_time(program: u32) -> anyhow::Result<(u64, u64)> {
    for info in loaded_programs() {
        let info = info?;
        if info.id() == program {
            return Ok((info.run_time().as_nanos().try_into()?, info.run_count()));
        }
    }
    anyhow::bail!("the program {program} is gone")
}

/// Time that the threads of a process have had on any core.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let times = fs::read_to_string(thread?.path().join("schedstat"))?;
        let running = times.split(' ').next().context("the kernel tells")?;
        nanoseconds += running.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kilobytes.context("the kernel tells")?.parse::<f64>()? * 1024.0)
}
