//! Running the programs on made-up packets (`BPF_PROG_TEST_RUN`).

use anyhow::Context as _;
use aya::programs::{TestRun as _, TestRunOptions};

use super::{Dataplane, load};

/// Room for what a program may put in front of a packet.
const HEADROOM: usize = 256;

/// What became of a made-up packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action (`enum xdp_action` in linux/bpf.h).
    pub action: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

/// `struct xdp_md` (linux/bpf.h), which tells the program where a packet came from.
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_interface: u32,
    rx_queue: u32,
    egress_interface: u32,
}

impl Dataplane {
    /// Runs the program on a packet that came in by the interface with index `ingress`, as the kernel would: counters
    /// count it and flows are remembered. Only nothing is sent.
    pub fn run(&self, packet: &[u8], ingress: u32) -> anyhow::Result<Outcome> {
        let length = u32::try_from(packet.len())?;
        let context = Context {
            data: 0,
            data_end: length,
            data_meta: 0,
            ingress_interface: ingress,
            rx_queue: 0,
            egress_interface: 0,
        };
        self.test_run(load::BALANCER, packet, Some(&context.to_bytes()))
    }

    /// Runs one of the programs on a packet.
    pub(super) fn test_run(&self, program: &str, packet: &[u8], context: Option<&[u8]>) -> anyhow::Result<Outcome> {
        let mut output = vec![0; packet.len() + HEADROOM];
        let result = load::loaded(&self.ebpf, program)?
            .test_run(TestRunOptions {
                data_in: Some(packet),
                data_out: Some(&mut output),
                ctx_in: context,
                ..TestRunOptions::default()
            })
            .with_context(|| format!("cannot run the program {program} on a packet"))?;
        output.truncate(result.data_size_out as usize);
        Ok(Outcome {
            action: result.return_value,
            packet: output,
        })
    }
}

impl Context {
    fn to_bytes(&self) -> Vec<u8> {
        let fields = [
            self.data,
            self.data_end,
            self.data_meta,
            self.ingress_interface,
            self.rx_queue,
            self.egress_interface,
        ];
        fields.into_iter().flat_map(u32::to_ne_bytes).collect()
    }
}
