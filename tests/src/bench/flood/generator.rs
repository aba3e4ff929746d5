//! A flood of SYNs from a CPU of its own.
//!
//! The kernel runs a small XDP program on frames that it really sends (`BPF_F_TEST_XDP_LIVE_FRAMES`): no socket and no
//! socket buffer stands between the program and the cable.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::Array,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use balancer_common::abi::Mac;

use crate::{
    bench::{
        machine,
        programs::{context, program},
    },
    lab::{Namespace, SetOnDrop},
    packet::{Packet, Transport},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("EBPF_OBJECTS"), "/flood"));

/// Bytes of a frame (balancer-ebpf/src/flood.rs).
const FRAME: usize = 66;
/// Frames that are sent at once.
const BATCH: u32 = 64;
/// Frames after which the generator looks whether it is to end.
const CALL: u32 = 256 * BATCH;

/// Where a flood goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Index of the flooding host's interface.
    pub(super) interface: u32,
    /// MAC of that interface.
    pub(super) from: Mac,
    /// MAC of the other end of its cable.
    pub(super) to: Mac,
    /// Who is flooded.
    pub(super) service: SocketAddr,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// How many frames.
    pub(super) frames: u64,
    /// What that took of the CPU, with all that became of the frames on it.
    pub(super) cpu_seconds: f64,
}

/// The programs, loaded.
pub(super) struct Generator {
    ebpf: Ebpf,
}

impl Generator {
    /// Loads the programs.
    pub(super) fn load() -> anyhow::Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("the kernel does not take the programs of the flood")?;
        for name in ["flood", "answer", "swallow"] {
            program(&mut ebpf, name)?.load()?;
        }
        Ok(Self { ebpf })
    }

    /// Has a host answer the flood's SYNs at this interface, in the driver.
    pub(super) fn answer_at(&mut self, host: &Namespace, interface: &str) -> anyhow::Result<()> {
        self.attach("answer", host, interface)
    }

    /// Has every frame end that reaches this interface of a host.
    pub(super) fn swallow_at(&mut self, host: &Namespace, interface: &str) -> anyhow::Result<()> {
        self.attach("swallow", host, interface)
    }

    fn attach(&mut self, name: &str, host: &Namespace, interface: &str) -> anyhow::Result<()> {
        let program = program(&mut self.ebpf, name)?;
        host.enter(|| program.attach(interface, XdpMode::Driver))
            .with_context(|| format!("cannot attach `{name}` to {interface} of {}", host.name()))?;
        Ok(())
    }

    /// Floods from `host`, on one CPU, while `f` runs. Returns what `f` does, and what was sent.
    pub(super) fn flood_during<T>(
        &mut self,
        host: &Namespace,
        cpu: usize,
        target: &Target,
        f: impl FnOnce() -> T,
    ) -> anyhow::Result<(T, Sent)> {
        let first = first_frame(target)?;
        let map = self.ebpf.map_mut("FIRST").context("there is no map FIRST")?;
        Array::<_, [u8; FRAME]>::try_from(map)?.set(0, first, 0)?;
        let program = program(&mut self.ebpf, "flood")?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let generator = scope.spawn(|| {
                host.enter(|| {
                    machine::stay_on([cpu])?;
                    // Whatever else runs on this machine does not hold a flood up.
                    rustix::process::setpriority_process(None, -20)?;
                    send(program, &first, target.interface, &over)
                })
            });
            let end = SetOnDrop(&over);
            let result = f();
            drop(end);
            let sent = generator
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((result, sent))
        })
    }
}

/// Sends frames until it is `over`.
fn send(program: &Xdp, first: &[u8], interface: u32, over: &AtomicBool) -> anyhow::Result<Sent> {
    let context = context(first.len(), interface);
    let mut frames = 0;
    while !over.load(Ordering::Relaxed) {
        let options = TestRunOptions {
            data_in: Some(first),
            ctx_in: Some(&context),
            repeat: CALL,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        program.test_run(options).context("the kernel does not send frames")?;
        frames += u64::from(CALL);
    }
    Ok(Sent {
        frames,
        cpu_seconds: machine::thread_seconds(),
    })
}

/// The SYN that all others are made from.
fn first_frame(target: &Target) -> anyhow::Result<[u8; FRAME]> {
    let source = SocketAddr::from(([198, 18, 0, 0], 0x8000));
    let syn = Packet {
        to: target.to,
        from: target.from,
        payload: Vec::new(),
        ..Packet::new(Transport::syn(), source, target.service)
    };
    let frame = syn.frame();
    let first = frame.first_chunk().filter(|first| first.len() == frame.len());
    first
        .copied()
        .with_context(|| format!("a SYN has {} bytes instead of {FRAME}", frame.len()))
}
