//! What the programs cost the kernel's verifier, and how large they are.

mod stack;

use anyhow::{Context as _, bail};
use aya::{EbpfLoader, maps::Map, programs::Program};
use serde::Serialize;

use super::{
    arena::Arena,
    decap,
    load::{self, explain_load_error, explain_program_error},
    maps::Capacity,
    permission, syscall,
};

/// What is told of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Its name.
    pub program: String,
    /// Instructions that the verifier went through, over all ways through the program; it gives up after a million.
    pub verified: u32,
    /// Instructions that it has.
    pub instructions: usize,
    /// Bytes of machine code.
    pub machine_code: u32,
    /// Bytes of stack that the deepest chain of calls takes, as the verifier counts them; it allows 512.
    pub stack: u32,
}

/// The figures of every program, from loading them. Nothing is pinned or attached.
pub fn figures() -> anyhow::Result<Vec<Figures>> {
    permission::require_permission()?;
    load::require_btf()?;
    let mut loader = EbpfLoader::new();
    // The maps have to be there, not to hold anything.
    let smallest = Capacity {
        flows: 1,
        clients: 1,
        services: 1,
        backends: 1,
        mappings: 1,
    };
    for (name, entries) in smallest.sizes() {
        loader.map_max_entries(name, entries);
    }
    loader.allow_unsupported_maps();
    let balancer = loader.load(load::OBJECT).map_err(explain_load_error)?;
    let arena = balancer.map("ARENA").context("the eBPF object has no arena")?;
    let Map::Unsupported(arena) = arena else {
        bail!("the arena is none")
    };
    let _arena = Arena::place(arena.fd())?;
    let decap = EbpfLoader::new().load(decap::OBJECT).map_err(explain_load_error)?;
    let mut figures = Vec::new();
    for mut ebpf in [balancer, decap] {
        for (name, program) in ebpf.programs_mut() {
            figures.push(of(name, program)?);
        }
    }
    figures.sort_unstable_by(|one, other| one.program.cmp(&other.program));
    Ok(figures)
}

fn of(name: &str, program: &mut Program) -> anyhow::Result<Figures> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => bail!(
            "{name} is a program of a kind that is not loaded here: {:?}",
            other.prog_type()
        ),
    }
    .map_err(explain_program_error)?;
    let info = program.info()?;
    let instructions =
        syscall::instructions(program.fd()?).with_context(|| format!("cannot read the program {name}"))?;
    let verified = info.verified_instruction_count();
    Ok(Figures {
        program: name.to_owned(),
        verified: verified.context("this kernel does not say how many instructions it has verified")?,
        instructions: instructions.len(),
        machine_code: info.size_jitted(),
        stack: stack::depth(&instructions),
    })
}
