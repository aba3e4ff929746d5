//! How much stack a program takes, as the kernel's verifier counts it (`check_max_stack_depth` in kernel/bpf/verifier.c).

use std::collections::{BTreeMap, BTreeSet};

/// An instruction as the kernel has it (`struct bpf_insn` in linux/bpf.h), little-endian: operation, registers, offset, constant.
pub(in super::super) type Instruction = [u8; 8];

/// The register that holds the address of the function's frame.
const FRAME: u8 = 10;

/// Each frame takes a multiple of this, where programs are compiled.
const GRANULE: u32 = 16;

/// Bytes that the deepest chain of calls takes.
pub(in super::super) fn depth(program: &[Instruction]) -> u32 {
    let functions = functions(program);
    let mut depths = BTreeMap::new();
    // Recursion is refused, so callees can be settled before their callers.
    while depths.len() < functions.len() {
        let settled = depths.len();
        for (&begin, function) in &functions {
            let deepest = function
                .calls
                .iter()
                .try_fold(0, |deepest: u32, callee| Some(deepest.max(*depths.get(callee)?)));
            if let Some(deepest) = deepest {
                depths.insert(begin, function.frame.next_multiple_of(GRANULE) + deepest);
            }
        }
        if depths.len() == settled {
            break;
        }
    }
    depths.get(&0).copied().unwrap_or(0)
}

#[derive(Default)]
struct Function {
    frame: u32,
    calls: BTreeSet<usize>,
}

/// The functions by their first instruction.
fn functions(program: &[Instruction]) -> BTreeMap<usize, Function> {
    let mut begins: BTreeSet<usize> = BTreeSet::from([0]);
    let places = || program.iter().enumerate();
    begins.extend(places().filter_map(|(place, &instruction)| called(place, instruction)));
    let mut functions = BTreeMap::new();
    let mut before = [0; 8];
    for (place, &instruction) in places() {
        let begin = begins.range(..=place).next_back().copied().unwrap_or(0);
        let function: &mut Function = functions.entry(begin).or_default();
        function.frame = function.frame.max(reach(before, instruction));
        before = instruction;
        function.calls.extend(called(place, instruction));
    }
    functions
}

/// The function that an instruction calls.
fn called(place: usize, instruction: Instruction) -> Option<usize> {
    const CALL: u8 = 0x85;
    const WITHIN_PROGRAM: u8 = 1;
    let [operation, registers, ..] = instruction;
    let is_call = operation == CALL && registers >> 4 == WITHIN_PROGRAM;
    // Of compiled programs the kernel shows the distance here, and in the constant the function's number.
    let distance = isize::from(offset(instruction));
    is_call.then(|| (place + 1).checked_add_signed(distance)).flatten()
}

/// How far below the top of the frame an instruction goes that follows this one.
fn reach(before: Instruction, instruction: Instruction) -> u32 {
    const CLASS: u8 = 0b111;
    const LOAD: u8 = 1;
    const STORE_CONSTANT: u8 = 2;
    const STORE: u8 = 3;
    const ADD_CONSTANT: u8 = 0x07;
    const COPY: u8 = 0xbf;
    let [operation, registers, ..] = instruction;
    let (destination, source) = (registers & 0xf, registers >> 4);
    let offset = i32::from(offset(instruction));
    let below = match operation & CLASS {
        LOAD if source == FRAME => offset,
        STORE | STORE_CONSTANT if destination == FRAME => offset,
        // The address of something in the frame.
        _ if operation == ADD_CONSTANT && before.starts_with(&[COPY, FRAME << 4 | destination]) => {
            constant(instruction)
        }
        _ => 0,
    };
    below.min(0).unsigned_abs()
}

fn offset(instruction: Instruction) -> i16 {
    let [_, _, low, high, ..] = instruction;
    i16::from_le_bytes([low, high])
}

fn constant(instruction: Instruction) -> i32 {
    let [.., a, b, c, d] = instruction;
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(operation: u8, destination: u8, source: u8, offset: i16, constant: i32) -> Instruction {
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = constant.to_le_bytes();
        [operation, source << 4 | destination, low, high, a, b, c, d]
    }

    /// `*(u64 *)(r10 + offset) = r1`
    fn store(offset: i16) -> Instruction {
        instruction(0x7b, FRAME, 1, offset, 0)
    }

    /// A call of the function that begins so many instructions behind the next one.
    fn call(distance: i16) -> Instruction {
        instruction(0x85, 0, 1, distance, 0)
    }

    const EXIT: Instruction = [0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_frame_is_as_deep_as_its_furthest_access() {
        let load = instruction(0x79, 1, FRAME, -40, 0);
        let constant = instruction(0x7a, FRAME, 0, -72, 0);
        let copy = instruction(0xbf, 2, FRAME, 0, 0);
        let address = instruction(0x07, 2, 0, 0, -100);
        assert_eq!(depth(&[EXIT]), 0);
        assert_eq!(depth(&[store(-8), EXIT]), 16);
        assert_eq!(depth(&[store(-8), load, EXIT]), 48);
        assert_eq!(depth(&[constant, store(-8), EXIT]), 80);
        assert_eq!(depth(&[copy, address, EXIT]), 112);
    }

    #[test]
    fn what_is_not_in_the_frame_does_not_count() {
        let subtraction = instruction(0x07, 2, 0, 0, -100);
        let elsewhere = instruction(0x7b, 3, 1, -200, 0);
        let helper = instruction(0x85, 0, 0, 0, 5);
        assert_eq!(depth(&[subtraction, elsewhere, helper, EXIT]), 0);
    }

    #[test]
    fn frames_of_a_chain_of_calls_add_up_and_those_of_one_after_another_do_not() {
        let program = [
            store(-16),  // 0: 16 bytes
            call(2),     // 1: function at 4
            call(4),     // 2: function at 7
            EXIT,        // 3
            store(-64),  // 4: 64 bytes
            call(1),     // 5: function at 7
            EXIT,        // 6
            store(-100), // 7: 112 bytes
            EXIT,        // 8
        ];
        assert_eq!(depth(&program), 16 + 64 + 112);
    }
}
