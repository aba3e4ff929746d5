//! `flows …`

use super::{align_right, plain};
use crate::control::protocol::{FlowCount, FlowView};

/// `flows list`
pub(in crate::cli) fn flows(flows: &[FlowView]) -> String {
    let mut table = plain();
    table.set_header(["SERVICE", "CLIENT", "VIP", "BACKEND"]);
    for flow in flows {
        table.add_row([
            flow.service.clone(),
            flow.client.to_string(),
            flow.vip.to_string(),
            flow.backend.clone().unwrap_or_else(|| "gone".to_owned()),
        ]);
    }
    table.to_string()
}

/// `flows count`
pub(in crate::cli) fn flow_count(count: &FlowCount) -> String {
    let mut table = plain();
    table.set_header(["SERVICE", "BACKEND", "FLOWS"]);
    for backend in &count.backends {
        table.add_row([backend.service.clone(), backend.name.clone(), backend.flows.to_string()]);
    }
    align_right(&mut table, 2);
    format!("{table}\n\nin all: {}", count.flows)
}
