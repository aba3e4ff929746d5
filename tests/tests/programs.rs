//! What the data plane's programs cost the kernel.

use std::process::Command;

use balancer_tests::lab::program;
use serde_json::Value;

/// The most that the verifier goes through, and the most stack that it allows.
const MOST_VERIFIED: u64 = 1_000_000;
const MOST_STACK: u64 = 512;

#[test]
fn every_program_is_within_what_the_kernel_allows_and_shown_to_be() {
    let output = Command::new(program("balancer"))
        .args(["programs", "-o", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let programs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = programs
        .iter()
        .map(|program| program["program"].as_str().unwrap())
        .collect();
    for name in ["balancer", "any_packet", "explain", "balancer_decap"] {
        assert!(names.contains(&name), "no {name}: {names:?}");
    }
    for program in &programs {
        let figure = |key: &str| program[key].as_u64().unwrap();
        // Each instruction is gone through at least once, but for those that can never be reached.
        assert!(
            (figure("instructions") / 2..MOST_VERIFIED).contains(&figure("verified")),
            "{program}"
        );
        assert!((1..=MOST_STACK).contains(&figure("stack")), "{program}");
        assert!(figure("machine_code") > figure("instructions"), "{program}");
    }
}
