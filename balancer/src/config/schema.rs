//! The tables of a configuration file and the keys that each may have.

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// The file itself.
    File,
    /// Once, under `[path]`.
    Single,
    /// Any number of times, each under `[[path]]`.
    Repeated,
    /// As a value in braces.
    Inline,
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Shape {
    /// Where the table is, dotted; empty for the file itself.
    pub(super) path: &'static str,
    form: Form,
    /// The keys that it may have.
    pub(super) keys: &'static [&'static str],
}

impl Shape {
    /// What to call the table in a message.
    pub(super) fn title(&self) -> String {
        match self.form {
            Form::File => "the file".to_owned(),
            Form::Single => format!("[{}]", self.path),
            Form::Repeated => format!("[[{}]]", self.path),
            Form::Inline => self.path.rsplit('.').next().unwrap_or_default().to_owned(),
        }
    }

    /// How to write the table.
    pub(super) fn example(&self) -> String {
        match self.form {
            Form::Inline => {
                let keys: Vec<String> = self.keys.iter().map(|key| format!("{key} = …")).collect();
                format!("{} = {{ {} }}", self.title(), keys.join(", "))
            }
            Form::File | Form::Single | Form::Repeated => self.title(),
        }
    }

    /// The other tables that may have this key.
    pub(super) fn others_with(&self, key: &str) -> Vec<String> {
        let elsewhere = |shape: &&&Self| shape.path != self.path && shape.keys.contains(&key);
        ALL.iter().filter(elsewhere).map(|shape| shape.title()).collect()
    }
}

pub(super) const FILE: Shape = Shape {
    path: "",
    form: Form::File,
    keys: &["version", "dataplane", "control", "metrics", "health", "service"],
};

pub(super) const DATAPLANE: Shape = Shape {
    path: "dataplane",
    form: Form::Single,
    keys: &[
        "interfaces",
        "xdp_mode",
        "pin_path",
        "max_flows",
        "max_services",
        "max_clients",
        "max_backends",
        "tunnel_source",
        "source_addresses",
        "source_ports",
        "max_mappings",
    ],
};

pub(super) const TUNNEL_SOURCE: Shape = Shape {
    path: "dataplane.tunnel_source",
    form: Form::Inline,
    keys: &["v4", "v6"],
};

pub(super) const CONTROL: Shape = Shape {
    path: "control",
    form: Form::Single,
    keys: &["socket", "state"],
};

pub(super) const METRICS: Shape = Shape {
    path: "metrics",
    form: Form::Single,
    keys: &["listen"],
};

pub(super) const PROBING: Shape = Shape {
    path: "health",
    form: Form::Single,
    keys: &["max_concurrent"],
};

pub(super) const SERVICE: Shape = Shape {
    path: "service",
    form: Form::Repeated,
    keys: &[
        "name",
        "address",
        "ports",
        "protocol",
        "forwarding",
        "source_addresses",
        "mss",
        "affinity",
        "affinity_prefix",
        "affinity_timeout",
        "quic",
        "when_down",
        "maglev_size",
        "selection",
        "tracking",
        "slow_start",
        "panic_threshold",
        "wake",
        "health",
        "passive",
        "limits",
        "backend",
        "pin",
        "sources",
    ],
};

pub(super) const AFFINITY_PREFIX: Shape = Shape {
    path: "service.affinity_prefix",
    form: Form::Inline,
    keys: &["v4", "v6"],
};

pub(super) const QUIC: Shape = Shape {
    path: "service.quic",
    form: Form::Single,
    keys: &["layout", "server_id_length"],
};

pub(super) const HEALTH: Shape = Shape {
    path: "service.health",
    form: Form::Single,
    keys: &[
        "kind",
        "via",
        "port",
        "send",
        "expect",
        "method",
        "path",
        "host",
        "headers",
        "expect_status",
        "expect_body",
        "query",
        "query_type",
        "transport",
        "expect_rcode",
        "expect_answer",
        "command",
        "env",
        "grpc_service",
        "tls",
        "ca",
        "sni",
        "verify",
        "interval",
        "interval_down",
        "timeout",
        "healthy_threshold",
        "unhealthy_threshold",
        "flap_limit",
        "flap_window",
    ],
};

pub(super) const SEND: Shape = Shape {
    path: "service.health.send",
    form: Form::Inline,
    keys: &["hex"],
};

pub(super) const EXPECT: Shape = Shape {
    path: "service.health.expect",
    form: Form::Inline,
    keys: &["hex", "regex"],
};

pub(super) const EXPECT_BODY: Shape = Shape {
    path: "service.health.expect_body",
    form: Form::Inline,
    keys: &["hex", "regex"],
};

pub(super) const PASSIVE: Shape = Shape {
    path: "service.passive",
    form: Form::Single,
    keys: &["max_fails", "fail_timeout", "max_ejected"],
};

pub(super) const LIMITS: Shape = Shape {
    path: "service.limits",
    form: Form::Single,
    keys: &["new_flows_per_client", "new_flows", "client_prefix"],
};

pub(super) const NEW_FLOWS_PER_CLIENT: Shape = Shape {
    path: "service.limits.new_flows_per_client",
    form: Form::Inline,
    keys: &["rate", "burst"],
};

pub(super) const NEW_FLOWS: Shape = Shape {
    path: "service.limits.new_flows",
    form: Form::Inline,
    keys: &["rate", "burst"],
};

pub(super) const LIMIT_PREFIX: Shape = Shape {
    path: "service.limits.client_prefix",
    form: Form::Inline,
    keys: &["v4", "v6"],
};

pub(super) const BACKEND: Shape = Shape {
    path: "service.backend",
    form: Form::Repeated,
    keys: &["name", "address", "weight", "backup", "admin", "server_id"],
};

pub(super) const PIN: Shape = Shape {
    path: "service.pin",
    form: Form::Repeated,
    keys: &["prefix", "key", "backend"],
};

pub(super) const SOURCES: Shape = Shape {
    path: "service.sources",
    form: Form::Single,
    keys: &["allow", "deny"],
};

const ALL: &[&Shape] = &[
    &FILE,
    &DATAPLANE,
    &TUNNEL_SOURCE,
    &CONTROL,
    &METRICS,
    &PROBING,
    &SERVICE,
    &AFFINITY_PREFIX,
    &QUIC,
    &HEALTH,
    &SEND,
    &EXPECT,
    &EXPECT_BODY,
    &PASSIVE,
    &LIMITS,
    &NEW_FLOWS_PER_CLIENT,
    &NEW_FLOWS,
    &LIMIT_PREFIX,
    &BACKEND,
    &PIN,
    &SOURCES,
];
