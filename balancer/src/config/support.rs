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
    /// The key altogether.
    Key,
}

/// What this version refuses.
pub(super) const UNSUPPORTED: &[Unsupported] = &[
    value("service", "affinity", "quic-cid", "client-ip-port"),
    key("service", "limits"),
    key("service", "sources"),
];

const fn value(table: &'static str, key: &'static str, refused: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        table,
        key,
        refused: Refusal::Value { refused, instead },
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
            Refusal::Key => (key.to_owned(), "leave it out".to_owned()),
            Refusal::Value { .. } => return None,
        };
        Some(format!("{what} is not supported by this version; {mend}"))
    }
}
