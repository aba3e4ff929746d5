//! What the format names but this version cannot do. To support one of these, do it and delete its line.

/// A key that is refused.
pub(super) struct Unsupported {
    table: &'static str,
    key: &'static str,
}

/// What this version refuses.
pub(super) const UNSUPPORTED: &[Unsupported] = &[key("service", "limits")];

const fn key(table: &'static str, key: &'static str) -> Unsupported {
    Unsupported { table, key }
}

impl Unsupported {
    /// Why `key` cannot be in `table`, if this is the reason.
    pub(super) fn objection(&self, table: &str, key: &str) -> Option<String> {
        ((self.table, self.key) == (table, key))
            .then(|| format!("{key} is not supported by this version; leave it out"))
    }
}
