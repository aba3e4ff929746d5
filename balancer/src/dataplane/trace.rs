//! Telling what the data plane decides about single packets, while somebody follows.
//!
//! The program that tells is another one than the program that is attached otherwise, which therefore pays nothing for it:
//! it is loaded when somebody follows, and put in place of the other under traffic.

use std::io;

use anyhow::bail;
use aya::{
    Ebpf, Pod,
    maps::{Array, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::Xdp,
    util::nr_cpus,
};
use balancer_common::abi::{Capture, Decision, TraceFilter};

use super::{Dataplane, attach, load, maps, name::Name, pins::Pins, requests::Requests};

/// The program that tells, and its maps.
pub(super) struct Tracing(Ebpf);

/// A decision, and the packet that it is about.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The decision.
    pub decision: Decision,
    /// The name of the decision's service.
    pub service: Option<String>,
    /// The name of the decision's backend.
    pub backend: Option<String>,
    /// The packet, if its bytes were asked for.
    pub frames: Option<Frames>,
}

/// The bytes of a packet, as far as they were captured.
#[derive(Clone, Debug)]
pub struct Frames {
    /// As it came.
    pub received: Vec<u8>,
    /// As it leaves; empty if it does not.
    pub sent: Vec<u8>,
}

/// Decisions that nobody reads yet.
pub struct Trace {
    buffer: RingBuf<MapData>,
    read: fn(&[u8]) -> Option<Record>,
    names: Names,
}

impl Trace {
    /// Begins to read them. To be called in a Tokio runtime.
    pub fn follow(self) -> io::Result<Decisions> {
        Ok(Decisions {
            records: Requests::new(self.buffer, self.read)?,
            names: self.names,
        })
    }
}

type Record = (Decision, Option<Frames>);

/// The names that services and backends have in the kernel at each moment.
struct Names {
    services: Array<MapData, Name>,
    backends: Array<MapData, Name>,
}

/// Decisions as they are made.
pub struct Decisions {
    records: Requests<Record>,
    names: Names,
}

impl Decisions {
    /// The next decision.
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> io::Result<Traced> {
        let (decision, frames) = self.records.recv().await?;
        let name = |names: &Array<MapData, Name>, index| match index {
            0 => None,
            index => names.get(&index, 0).ok().and_then(|name| name.text()),
        };
        Ok(Traced {
            service: name(&self.names.services, decision.service),
            backend: name(&self.names.backends, decision.backend),
            decision,
            frames,
        })
    }
}

impl Dataplane {
    /// Has the data plane tell of packets.
    ///
    /// # Errors
    ///
    /// If it does so already, or the kernel refuses.
    pub fn start_trace(&mut self, filter: &TraceFilter) -> anyhow::Result<Trace> {
        if self.tracing.is_some() {
            bail!("somebody follows a trace already: end that one first");
        }
        let ebpf = load::load_tracing(&self.pins, self.capacity)?;
        // Loading has emptied it.
        self.maps.strangers.set(0, self.strangers.table(), 0)?;
        let trace = prepare(&self.pins, filter)?;
        self.tracing = Some(Tracing(ebpf));
        if let Err(error) = self.replace_program() {
            self.stop_trace()?;
            return Err(error);
        }
        Ok(trace)
    }

    /// Ends what [`start_trace`](Self::start_trace) has begun.
    pub fn stop_trace(&mut self) -> anyhow::Result<()> {
        let ended = self.tracing.take();
        self.replace_program()?;
        drop(ended);
        Ok(())
    }

    fn replace_program(&mut self) -> anyhow::Result<()> {
        let program = attached(&mut self.ebpf, self.tracing.as_mut())?;
        attach::replace_all(program, &self.pins, &self.attachments)
    }
}

/// The program that is or has to be attached.
pub(super) fn attached<'a>(ebpf: &'a mut Ebpf, tracing: Option<&'a mut Tracing>) -> anyhow::Result<&'a mut Xdp> {
    let (ebpf, name) = tracing.map_or((ebpf, load::BALANCER), |Tracing(ebpf)| (ebpf, load::ANY_PACKET));
    load::program(ebpf, name)
}

/// Forgets what an earlier trace has left, and says what is asked for.
fn prepare(pins: &Pins, filter: &TraceFilter) -> anyhow::Result<Trace> {
    let (buffer, read): (_, fn(&[u8]) -> _) = if filter.capture == 0 {
        ("DECISIONS", read_decision)
    } else {
        ("CAPTURES", read_capture)
    };
    let mut buffer: RingBuf<MapData> = maps::open_as(pins, buffer)?;
    while buffer.next().is_some() {}
    let mut budget: PerCpuArray<MapData, [u64; 2]> = maps::open_as(pins, "TRACE_BUDGET")?;
    let cpus = nr_cpus().map_err(|(path, error)| anyhow::Error::new(error).context(path))?;
    budget.set(0, PerCpuValues::try_from(vec![[0; 2]; cpus])?, 0)?;
    let mut filters: Array<MapData, TraceFilter> = maps::open_as(pins, "TRACE_FILTER")?;
    filters.set(0, filter, 0)?;
    let names = Names {
        services: maps::open_as(pins, "SERVICE_NAMES")?,
        backends: maps::open_as(pins, "BACKEND_NAMES")?,
    };
    Ok(Trace { buffer, read, names })
}

fn read_decision(bytes: &[u8]) -> Option<Record> {
    Some((record(bytes)?, None))
}

fn read_capture(bytes: &[u8]) -> Option<Record> {
    let Capture {
        decision,
        received,
        sent,
    } = record::<Capture>(bytes)?;
    let part = |bytes: &[u8], length: u32| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.iter().take(length).copied().collect()
    };
    let frames = Frames {
        received: part(&received, decision.received),
        sent: part(&sent, decision.sent),
    };
    Some((decision, Some(frames)))
}

fn record<R: Pod>(bytes: &[u8]) -> Option<R> {
    let bytes = bytes.get(..size_of::<R>())?;
    // SAFETY: there are as many bytes, and any bytes are a record, at any address as it is copied.
    Some(unsafe { bytes.as_ptr().cast::<R>().read_unaligned() })
}
