//! Making another intent the one that counts.

use std::mem;

use super::{
    Controller, desired,
    foresight::{Clients, Foresight, Remembered},
    orders::{Action, Step, step},
    requests::{Reply, respond},
    resolve::{self, usage},
};
use crate::{
    config::{self, Config},
    control::protocol::{Done, Order, Refusal, Response},
    dataplane::Census,
    intent::{Change, Endpoint, Intent},
    reconcile,
    wording::{counted, grouped},
};

impl Controller {
    /// Carries out an order that changes what runs; what it would not change is left alone.
    pub(super) fn carry_out(&mut self, order: &Order, census: &Census) -> anyhow::Result<Done> {
        let step = step(&self.intent, order)?;
        let Some(Action::Change(change)) = &step.action else {
            return Ok(Done {
                message: step.outcome("nothing changed"),
                warnings: Vec::new(),
            });
        };
        let (consequence, warnings) = self.change(&step, change, census)?;
        let message = step.outcome(&consequence);
        self.tell_order(Some(step.service), &message);
        Ok(Done { message, warnings })
    }

    /// Carries out an order that moves clients from one backend to another.
    pub(super) fn carry_out_migration(&mut self, order: &Order, reply: Reply) {
        match self.order_migration(order) {
            Ok((step, moves_flows)) => self.migrate(move |controller, moved| {
                let done = moved.map(|moved| {
                    let consequence = if moves_flows {
                        format!("{} moved", counted(moved, "live flow", "live flows"))
                    } else {
                        "TCP connections that are open stay where they are (--flows moves them too)".to_owned()
                    };
                    let message = step.outcome(&consequence);
                    controller.tell_order(Some(step.service), &message);
                    Response::Done(Done {
                        message,
                        warnings: Vec::new(),
                    })
                });
                respond(reply, done);
            }),
            Err(error) => respond(reply, Err(error)),
        }
    }

    /// Changes what runs. Returns what follows from it, and what the new configuration is warned about.
    fn change(&mut self, step: &Step, change: &Change, census: &Census) -> anyhow::Result<(String, Vec<String>)> {
        let mut running = self.intent.running.clone();
        change.apply(&mut running)?;
        let warnings = self.new_warnings(&running)?;
        let foresight = self.foresee(&running, census)?;
        let consequence = match (step.backend, foresight.services.get(&step.service)) {
            (Some(backend), Some(clients)) => {
                let slots = moved_slots(*clients);
                let flows = flows(self.flows_of(&foresight, &step.service, backend), "reassigned");
                format!("{slots}{flows}")
            }
            (None, Some(clients)) => format!("nobody serves its clients{}", flows(clients.flows, "dropped")),
            (_, None) => "its clients are served from now on".to_owned(),
        };
        self.adopt(Intent {
            running,
            ..self.intent.clone()
        })?;
        Ok((consequence, warnings))
    }

    /// Notes that clients are to be moved. Returns with the order whether live flows move with them.
    fn order_migration(&mut self, order: &Order) -> anyhow::Result<(Step, bool)> {
        let step = step(&self.intent, order)?;
        let mut moves_flows = false;
        if let Some(Action::Migrate(migration)) = &step.action {
            moves_flows = self.moves_flows(migration);
            let mut intent = self.intent.clone();
            intent.migrations.push(migration.clone());
            self.adopt(intent)?;
        }
        Ok((step, moves_flows))
    }

    /// Makes `intent` what is wanted: on disk first, so that a crash at any moment is completed by the next start; then in
    /// the kernel; then for those who follow.
    ///
    /// # Errors
    ///
    /// If the data plane has no room, the intent cannot be kept, or an interface refuses the program: then nothing has
    /// changed. If the kernel refuses a change of its maps, the intent counts nevertheless.
    pub(super) fn adopt(&mut self, intent: Intent) -> anyhow::Result<()> {
        let desired = desired::desired(&intent.running, &self.knowledge, self.timer);
        reconcile::diff(self.dataplane.state(), &desired, self.dataplane.limits())?;
        self.store.write(&intent)?;
        if let Err(error) = self.attach(&intent.running) {
            self.store.write(&self.intent)?;
            return Err(error);
        }
        let before = mem::replace(&mut self.intent, intent);
        let running = &self.intent.running;
        self.knowledge.follow(&before.running, running);
        self.followers.watch(running);
        let reconciled = self.reconcile();
        self.probe();
        reconciled?;
        Ok(())
    }

    /// Attaches the program where `config` says, unless it is there.
    fn attach(&mut self, config: &Config) -> anyhow::Result<()> {
        if config.dataplane.interfaces == self.intent.running.dataplane.interfaces {
            return Ok(());
        }
        let interfaces = self.followers.interfaces(config)?;
        self.dataplane.attach(&interfaces, config.dataplane.xdp_mode)
    }

    /// What `config` is warned about that the running configuration is not.
    ///
    /// # Errors
    ///
    /// If `config` is not valid.
    fn new_warnings(&self, config: &Config) -> Result<Vec<String>, Refusal> {
        let mut warnings = warnings(config)?;
        if !warnings.is_empty() {
            let known = self::warnings(&self.intent.running)?;
            warnings.retain(|warning| !known.contains(warning));
        }
        Ok(warnings)
    }

    /// What becomes of the flows of a backend.
    fn flows_of(&self, foresight: &Foresight, service: &str, backend: Endpoint) -> Remembered {
        let service = resolve::service(&self.intent.running, service).ok();
        let index = service.and_then(|service| self.index_of(service, backend));
        let flows = index.and_then(|index| foresight.flows.get(&index));
        flows.copied().unwrap_or_default()
    }
}

/// What becomes of a service's new clients.
fn moved_slots(clients: Clients) -> String {
    let (moved, slots) = (clients.moved_slots(), clients.slots.into());
    let verb = if moved == 1 { "moves" } else { "move" };
    format!("{} of {} slots {verb}", grouped(moved), grouped(slots))
}

/// What becomes of flows, as the end of a sentence; `lost` is what happens to those that do not stay.
fn flows(flows: Remembered, lost: &str) -> String {
    let live = |count| counted(count, "live flow", "live flows");
    match (flows.stay, flows.leave) {
        (0, 0) => String::new(),
        (1, 0) => ", 1 live flow stays".to_owned(),
        (stay, 0) => format!(", {} stay", live(stay)),
        (_, 1) => format!(", 1 live flow is {lost}"),
        (_, leave) => format!(", {} are {lost}", live(leave)),
    }
}

fn warnings(config: &Config) -> Result<Vec<String>, Refusal> {
    let loaded = config::validate(config).map_err(|error| usage(error.without_places()))?;
    Ok(loaded.warnings.into_iter().map(|warning| warning.message).collect())
}
