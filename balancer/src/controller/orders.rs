//! What an order changes: pure functions of the intent.

mod backend;
mod service;

#[cfg(test)]
mod tests;

use crate::{
    control::protocol::{Order, Refusal},
    intent::{Change, Endpoint, Intent, Migration},
};

/// What an order comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The service's name.
    pub(super) service: String,
    /// The backend that the order is about; `None` if it is about the service.
    pub(super) backend: Option<Endpoint>,
    /// What is to be done; `None` if everything is as ordered already.
    pub(super) action: Option<Action>,
    /// What was done or is so already, without the service.
    pub(super) said: String,
}

impl Step {
    /// What was done, with what has come of it.
    pub(super) fn outcome(&self, consequence: &str) -> String {
        format!("{}: {}: {consequence}", self.service, self.said)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// What runs is changed.
    Change(Change),
    /// Clients are moved.
    Migrate(Migration),
}

/// What `order` changes.
pub(super) fn step(intent: &Intent, order: &Order) -> Result<Step, Refusal> {
    match order {
        Order::AddService { name, text } => service::add(intent, name, text),
        Order::RemoveService { service } => service::remove(intent, service),
        Order::AddBackend { service, address, keys } => backend::add(intent, service, address, keys),
        Order::RemoveBackend { service, backend } => backend::remove(intent, service, backend),
        Order::SetAdmin {
            service,
            backend,
            admin,
        } => backend::set_admin(intent, service, backend, *admin),
        Order::SetWeight {
            service,
            backend,
            weight,
        } => backend::set_weight(intent, service, backend, *weight),
        Order::Migrate {
            service,
            from,
            to,
            flows,
        } => backend::migrate(intent, service, [from, to], *flows),
    }
}
