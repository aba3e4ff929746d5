//! What stays the same for as long as a daemon runs.

use crate::config::{Config, Control, Dataplane, Metrics, Probing};

/// The keys that differ between the configurations and cannot change while a daemon runs.
///
/// Takes the sections apart whole, so that a key added to the model cannot be forgotten here.
pub fn fixed_differences(running: &Config, wanted: &Config) -> Vec<&'static str> {
    let Config {
        dataplane:
            Dataplane {
                interfaces: _,
                tunnel_source: _,
                source_addresses: _,
                source_ports: _,
                xdp_mode,
                pin_path,
                max_flows,
                max_clients,
                max_services,
                max_backends,
                max_mappings,
            },
        control: Control { socket, state },
        metrics: Metrics { listen },
        health: Probing { max_concurrent },
        services: _,
    } = wanted;
    let dataplane = &running.dataplane;
    [
        ("dataplane.xdp_mode", dataplane.xdp_mode != *xdp_mode),
        ("dataplane.pin_path", dataplane.pin_path != *pin_path),
        ("dataplane.max_flows", dataplane.max_flows != *max_flows),
        ("dataplane.max_clients", dataplane.max_clients != *max_clients),
        ("dataplane.max_services", dataplane.max_services != *max_services),
        ("dataplane.max_backends", dataplane.max_backends != *max_backends),
        ("dataplane.max_mappings", dataplane.max_mappings != *max_mappings),
        ("control.socket", running.control.socket != *socket),
        ("control.state", running.control.state != *state),
        ("metrics.listen", running.metrics.listen != *listen),
        (
            "health.max_concurrent",
            running.health.max_concurrent != *max_concurrent,
        ),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
