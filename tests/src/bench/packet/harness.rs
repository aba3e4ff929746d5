//! Runs programs on packets, over and over, and takes the time.
//!
//! `BPF_PROG_TEST_RUN` does not undo what a program does to its packet. So what is run is another program, which makes the
//! packet what it was, gives it the number of the next flow and tail-calls the program that is measured
//! (balancer-ebpf/src/bench.rs). What that costs by itself is measured with nothing to call.

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, loaded_programs},
};

use super::sample::{Sample, WORDS};
use crate::{
    bench::{
        machine,
        programs::{context, program},
    },
    packet::Action,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("EBPF_OBJECTS"), "/bench"));

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Subject {
    /// Nothing: the call fails, and what remains is the cost of measuring.
    Nothing,
    /// A program that sends the packet back: the least a program can do.
    Swap,
    /// A program that puts every packet into the same tunnel: the least that a load balancer by tunnel can do.
    Encapsulation,
    /// The balancer.
    Balancer,
}

/// The programs, loaded.
pub(in crate::bench) struct Harness {
    ebpf: Ebpf,
    balancer: ProgramFd,
    measured: ProgramArray<MapData>,
    words: Array<MapData, [u64; WORDS]>,
    number_bits: Array<MapData, [u64; WORDS]>,
    flows_mask: Array<MapData, u64>,
}

impl Harness {
    /// Loads what measures. The balancer is the program with the identifier `balancer`.
    pub(in crate::bench) fn load(balancer: u32) -> anyhow::Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("the kernel does not take the programs that measure")?;
        for name in ["restore", "swap", "encapsulate"] {
            program(&mut ebpf, name)?.load()?;
        }
        Ok(Self {
            balancer: descriptor(balancer)?,
            measured: ProgramArray::try_from(take(&mut ebpf, "MEASURED")?)?,
            words: Array::try_from(take(&mut ebpf, "WORD")?)?,
            number_bits: Array::try_from(take(&mut ebpf, "NUMBER_BITS")?)?,
            flows_mask: Array::try_from(take(&mut ebpf, "FLOWS_MASK")?)?,
            ebpf,
        })
    }

    /// Runs `subject` on so many packets like `sample`, which come in by the interface with this index.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or the program does to the last packet something else than the sample says.
    pub(in crate::bench) fn run(
        &mut self,
        subject: Subject,
        sample: &Sample,
        ingress: u32,
        packets: u32,
    ) -> anyhow::Result<f64> {
        self.prepare(subject, sample)?;
        let context = context(sample.frame().len(), ingress);
        let options = TestRunOptions {
            data_in: Some(sample.frame()),
            ctx_in: Some(&context),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let restore = program(&mut self.ebpf, "restore")?;
        let before = machine::thread_seconds();
        let result = restore
            .test_run(options)
            .context("the kernel does not run the program")?;
        let seconds = machine::thread_seconds() - before;
        let expected = match subject {
            Subject::Nothing => Action::Aborted,
            Subject::Swap | Subject::Encapsulation => Action::Transmit,
            Subject::Balancer => sample.becomes(),
        };
        let action = Action::from(result.return_value);
        ensure!(action == expected, "{sample}: {action:?} instead of {expected:?}");
        Ok(seconds * 1e9 / f64::from(packets))
    }

    fn prepare(&mut self, subject: Subject, sample: &Sample) -> anyhow::Result<()> {
        let program = match subject {
            Subject::Nothing => None,
            Subject::Swap => Some(program(&mut self.ebpf, "swap")?.fd()?),
            Subject::Encapsulation => Some(program(&mut self.ebpf, "encapsulate")?.fd()?),
            Subject::Balancer => Some(&self.balancer),
        };
        match program {
            Some(program) => self.measured.set(0, program, 0)?,
            // It may be empty already.
            None => drop(self.measured.clear_index(&0)),
        }
        self.words.set(0, sample.words(), 0)?;
        self.number_bits.set(0, sample.number_bits(), 0)?;
        self.flows_mask.set(0, sample.flows_mask(), 0)?;
        Ok(())
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<aya::maps::Map> {
    ebpf.take_map(name).with_context(|| format!("there is no map {name}"))
}

/// Opens the program with this identifier.
fn descriptor(id: u32) -> anyhow::Result<ProgramFd> {
    for info in loaded_programs() {
        let info = info?;
        if info.id() == id {
            return Ok(info.fd()?);
        }
    }
    anyhow::bail!("the balancer's program is gone")
}
