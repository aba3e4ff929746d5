//! What the benchmarks are run on.

use std::{fs, io, thread};

use balancer_common::abi::arena;
use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;

/// The machine, as far as it says something about the figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// What the CPU calls itself.
    pub(super) cpu: String,
    /// How many CPUs there are.
    pub(super) cpus: usize,
    /// Version of the kernel.
    pub(super) kernel: String,
}

impl Machine {
    /// This machine.
    pub(super) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: model.unwrap_or("unknown").trim_matches([' ', '\t', ':']).to_owned(),
            cpus: cpus(),
            kernel: kernel.trim().to_owned(),
        }
    }

    /// One line about it.
    pub(super) fn describe(&self) -> String {
        format!("{} × {}, Linux {}", self.cpus, self.cpu, self.kernel)
    }
}

/// How many CPUs this process may use.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps the calling thread, and what it starts from now on, on these CPUs.
pub(super) fn stay_on(cpus: impl IntoIterator<Item = usize>) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Keeps the calling thread on one CPU, so that its caches stay its own.
pub(super) fn stay_on_one_cpu() -> anyhow::Result<()> {
    stay_on([rustix::thread::sched_getcpu()])
}

/// Seconds of CPU that the calling thread has used: other threads' turns do not count.
pub(super) fn thread_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

/// Seconds of CPU that the threads of this process have used.
pub(super) fn process_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    #[expect(clippy::cast_precision_loss, reason = "a process uses far less than 2^52 ns")]
    let nanoseconds = (time.tv_sec * 1_000_000_000 + time.tv_nsec) as f64;
    nanoseconds / 1e9
}

/// Seconds that all CPUs together were busy, in the kernel and outside.
pub(super) fn cpu_seconds() -> anyhow::Result<f64> {
    /// Parts of a second in which the kernel tells it (`USER_HZ`).
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|field| field.parse().ok())
        .collect();
    // User, nice, system, idle, waiting, interrupts, soft interrupts.
    let [user, nice, system, _, _, hard, soft, ..] = ticks.as_slice() else {
        anyhow::bail!("/proc/stat does not begin with the CPUs' times");
    };
    Ok((user + nice + system + hard + soft) / TICKS)
}

/// Memory of the BPF maps that this process has open, in millions of bytes.
pub(super) fn megabytes_of_maps() -> io::Result<f64> {
    let mut bytes_of = std::collections::HashMap::from([(0, bytes_of_arenas()?)]);
    for file in fs::read_dir("/proc/self/fdinfo")? {
        // The file by which this folder is read is gone by now.
        let Ok(info) = fs::read_to_string(file?.path()) else {
            continue;
        };
        let field = |name| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(map), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            bytes_of.insert(map, bytes);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
    let bytes = bytes_of.into_values().sum::<u64>() as f64;
    Ok(bytes / 1e6)
}

/// Bytes of the arenas that this process has in its memory; the kernel does not count them to their maps.
fn bytes_of_arenas() -> io::Result<u64> {
    let mappings = fs::read_to_string("/proc/self/smaps")?;
    let kilobytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let mut is_arena = false;
    let mut total = 0;
    for line in mappings.lines() {
        if line.starts_with("Size:") {
            is_arena = kilobytes(line) == Some(arena::SIZE >> 10);
        } else if line.starts_with("Rss:") && is_arena {
            total += kilobytes(line).unwrap_or(0) << 10;
        }
    }
    Ok(total)
}
