//! Captured packets in a file that packet analysers read.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::verdict;
use crate::control::protocol::PacketDecision;

/// The two sides of the data plane, as numbers of interfaces in the file.
const RECEIVED: u32 = 0;
const SENT: u32 = 1;

/// Timestamps are in units of 10 to the power of minus nine seconds.
const NANOSECONDS: u8 = 9;

/// A file in the making. Packets stand in it as they came and as they left.
pub(super) struct CaptureFile(PcapNgWriter<BufWriter<File>>);

impl CaptureFile {
    /// Makes the file, or empties it.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer = PcapNgWriter::new(BufWriter::new(file))?;
        for name in ["received", "sent"] {
            writer.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            })?;
        }
        Ok(Self(writer))
    }

    /// Adds the packet that a decision is about, with the decision as a comment.
    pub(super) fn add(&mut self, decision: &PacketDecision) -> anyhow::Result<()> {
        let Some(frames) = &decision.frames else {
            return Ok(());
        };
        let comment = verdict(decision);
        let sides = [
            (RECEIVED, &frames.received, frames.received_length),
            (SENT, &frames.sent, frames.sent_length),
        ];
        for (interface_id, data, original_len) in sides {
            if !data.is_empty() {
                self.0.write_pcapng_block(EnhancedPacketBlock {
                    interface_id,
                    timestamp: Duration::from_nanos(frames.nanoseconds),
                    original_len,
                    data: Cow::Borrowed(data),
                    options: vec![EnhancedPacketOption::Comment(Cow::Borrowed(&comment))],
                })?;
            }
        }
        // Whoever ends this by a signal wants what came before.
        Ok(self.0.get_mut().flush()?)
    }
}
