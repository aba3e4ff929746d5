//! What the operator has chosen to see, and the backends in that order.

use std::cmp::Ordering;

use super::view::{BackendRow, View};

/// What backends are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As they are configured.
    #[default]
    Configured,
    Flows,
    Packets,
    NewFlows,
    /// Hot ones first, then those that are not well.
    Trouble,
}

impl Sort {
    /// The one after this.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Configured => Self::Flows,
            Self::Flows => Self::Packets,
            Self::Packets => Self::NewFlows,
            Self::NewFlows => Self::Trouble,
            Self::Trouble => Self::Configured,
        }
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configuration",
            Self::Flows => "flows",
            Self::Packets => "packets",
            Self::NewFlows => "new flows",
            Self::Trouble => "trouble",
        }
    }

    fn compare(self, one: &BackendRow, other: &BackendRow) -> Ordering {
        match self {
            Self::Configured => Ordering::Equal,
            Self::Flows => other.flows.cmp(&one.flows),
            Self::Packets => other.rates.packets.total_cmp(&one.rates.packets),
            Self::NewFlows => other.rates.new_flows.total_cmp(&one.rates.new_flows),
            Self::Trouble => (!one.hot, one.is_well).cmp(&(!other.hot, other.is_well)),
        }
    }
}

/// What the operator has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) sort: Sort,
    /// The service whose backends are shown; all of them without one.
    pub(super) service: Option<String>,
    /// The backend that is marked, by its place.
    pub(super) selected: usize,
}

impl Screen {
    /// The backends that are shown, in their order.
    pub(super) fn backends<'v>(&self, view: &'v View) -> Vec<&'v BackendRow> {
        let chosen = |backend: &&BackendRow| self.service.as_ref().is_none_or(|service| *service == backend.service);
        let mut backends: Vec<_> = view.backends.iter().filter(chosen).collect();
        backends.sort_by(|one, other| self.sort.compare(one, other));
        backends
    }

    /// Marks another backend, so many places away; there is nothing before the first and behind the last.
    pub(super) fn select(&mut self, by: isize, view: &View) {
        let last = self.backends(view).len().saturating_sub(1);
        self.selected = self.selected.min(last).saturating_add_signed(by).min(last);
    }

    /// Shows the backends of the next service alone; of all after the last.
    pub(super) fn next_service(&mut self, view: &View) {
        let place = |name: &String| view.services.iter().position(|service| service.name == *name);
        let next = self.service.as_ref().and_then(place).map_or(0, |place| place + 1);
        self.service = view.services.get(next).map(|service| service.name.clone());
        self.selected = 0;
    }
}
