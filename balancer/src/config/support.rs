//! What the format names but this version cannot do. To support one of these, do it and delete its line.

use toml::de::DeValue;

/// A key, or one of its values, that is refused.
pub(super) struct Unsupported {
    table: &'static str,
    key: &'static str,
    refused: Refusal,
}

enum Refusal {
    /// One value of several.
    Value {
        refused: &'static str,
        instead: &'static str,
    },
    /// Every value but the one that means to do without.
    AllBut {
        shown: &'static str,
        is_it: fn(&DeValue<'_>) -> bool,
    },
    /// The key altogether.
    Key,
}

/// What this version refuses.
pub(super) const UNSUPPORTED: &[Unsupported] = &[
    value("service", "forwarding", "full-nat", "nat"),
    value("service", "affinity", "client-ip", "client-ip-port"),
    value("service", "affinity", "quic-cid", "client-ip-port"),
    value("service", "when_down", "reject", "reassign"),
    value("service", "when_down", "drop", "reassign"),
    value("service", "selection", "least-flows", "maglev"),
    value("service", "tracking", "changes", "full"),
    value("service", "tracking", "none", "full"),
    all_but("service", "wake", "[]", is_empty),
    key("service", "passive"),
    key("service", "limits"),
    key("service", "pin"),
    key("service", "sources"),
];

const fn value(table: &'static str, key: &'static str, refused: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        table,
        key,
        refused: Refusal::Value { refused, instead },
    }
}

const fn all_but(
    table: &'static str,
    key: &'static str,
    shown: &'static str,
    is_it: fn(&DeValue<'_>) -> bool,
) -> Unsupported {
    Unsupported {
        table,
        key,
        refused: Refusal::AllBut { shown, is_it },
    }
}

const fn key(table: &'static str, key: &'static str) -> Unsupported {
    Unsupported {
        table,
        key,
        refused: Refusal::Key,
    }
}

impl Unsupported {
    /// Why `content` cannot be the value of `key` in `table`, if this is the reason.
    pub(super) fn objection(&self, table: &str, key: &str, content: &DeValue<'_>) -> Option<String> {
        if (self.table, self.key) != (table, key) {
            return None;
        }
        let (what, mend) = match &self.refused {
            Refusal::Value { refused, instead } if content.as_str() == Some(refused) => {
                (format!("{key} = {refused:?}"), format!("use {instead:?}"))
            }
            Refusal::AllBut { shown, is_it } if !is_it(content) => {
                (format!("{key} other than {shown}"), "leave it out".to_owned())
            }
            Refusal::Key => (key.to_owned(), "leave it out".to_owned()),
            Refusal::Value { .. } | Refusal::AllBut { .. } => return None,
        };
        Some(format!("{what} is not supported by this version; {mend}"))
    }
}

fn is_empty(content: &DeValue<'_>) -> bool {
    content.as_array().is_some_and(|array| array.is_empty())
}
