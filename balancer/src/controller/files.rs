//! Requests that are about whole configurations.

use super::{Controller, foresight::Foresight, plan::plan};
use crate::{
    config::{self, Config, ConfigError, Loaded},
    control::protocol::{ConfigText, Done, Plan, Refusal, RefusalKind},
    dataplane::Census,
    intent::{Intent, Merged, fixed_differences},
    wording::counted,
};

impl Controller {
    /// Makes the configuration in `text` everything that runs.
    pub(super) fn apply(&mut self, text: &ConfigText, census: &Census) -> anyhow::Result<Done> {
        let applied = self.apply_loaded(&text.file, text.load(), census);
        self.metrics.count_reload(applied.is_ok());
        applied
    }

    fn apply_loaded(
        &mut self,
        name: &str,
        loaded: Result<Loaded, ConfigError>,
        census: &Census,
    ) -> anyhow::Result<Done> {
        let Loaded { config, warnings } = loaded.map_err(|error| invalid(&error))?;
        // What the daemon's own file says later is compared with what it says now. One that cannot be read says what it
        // said.
        let file = config::load(&self.file).map_or_else(|_| self.intent.file.clone(), |loaded| loaded.config);
        let intent = Intent::replaced(config, file);
        let message = self.change_to(intent, &format!("applied {name}"), census)?;
        Ok(Done {
            message,
            warnings: warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// Reads the daemon's own file again.
    pub(super) fn reload(&mut self, census: &Census) -> anyhow::Result<Done> {
        let reloaded = self.reload_loaded(census);
        self.metrics.count_reload(reloaded.is_ok());
        reloaded
    }

    fn reload_loaded(&mut self, census: &Census) -> anyhow::Result<Done> {
        let loaded = config::load(&self.file).map_err(|error| invalid(&error))?;
        let Merged { intent, kept, ended } = self.intent.with_file(loaded.config);
        let mut lines = vec![self.change_to(intent, &format!("reloaded {}", self.file.display()), census)?];
        if !kept.is_empty() {
            lines.push("changed at run time, and kept:".to_owned());
            lines.extend(kept.iter().map(|change| format!("  {change}")));
        }
        let mut warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(
            ended
                .iter()
                .map(|(change, why)| format!("changed at run time, and not kept: {change}: {why}")),
        );
        Ok(Done {
            message: lines.join("\n"),
            warnings,
        })
    }

    /// What applying the configuration in `text` would change.
    pub(super) fn plan(&self, text: &ConfigText, census: &Census) -> anyhow::Result<Plan> {
        let config = text.load().map_err(|error| invalid(&error))?.config;
        self.refuse_fixed(&config)?;
        Ok(self.plan_of(&config, &self.foresee(&config, census)?))
    }

    /// The effective configuration.
    pub(super) fn export(&self) -> String {
        let changes = self.intent.changes();
        let file = self.file.display();
        let mut lines = if changes.is_empty() {
            vec![format!("# What runs: {file}.")]
        } else {
            vec![format!("# What runs: {file} and what was changed at run time:")]
        };
        lines.extend(changes.iter().map(|change| format!("#   {change}")));
        lines.push(config::export(&self.intent.running));
        lines.join("\n")
    }

    /// Makes `intent` what is wanted; says what that changes.
    fn change_to(&mut self, intent: Intent, done: &str, census: &Census) -> anyhow::Result<String> {
        self.refuse_fixed(&intent.running)?;
        let foresight = self.foresee(&intent.running, census)?;
        let plan = self.plan_of(&intent.running, &foresight);
        self.adopt(intent)?;
        let message = format!("{done}: {}", summary(&plan));
        self.tell_order(None, &message);
        Ok(message)
    }

    fn plan_of(&self, config: &Config, foresight: &Foresight) -> Plan {
        plan(&self.intent.running, config, foresight)
    }

    fn refuse_fixed(&self, config: &Config) -> Result<(), Refusal> {
        let keys = fixed_differences(&self.intent.running, config);
        if keys.is_empty() {
            return Ok(());
        }
        Err(Refusal {
            kind: RefusalKind::Failed,
            message: format!(
                "nothing changed, as these cannot while the daemon runs: {}; leave them as they are, or write them into {} \
                 and restart the daemon",
                keys.join(", "),
                self.file.display()
            ),
        })
    }
}

/// A plan in one line.
fn summary(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nothing changed".to_owned();
    }
    let parts = [
        (plan.services_added.len(), "service added", "services added"),
        (plan.services_removed.len(), "service removed", "services removed"),
        (plan.services_changed.len(), "service changed", "services changed"),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let mut parts: Vec<_> = parts
        .map(|(count, one, several)| counted(count as u64, one, several))
        .collect();
    parts.push(format!("{:.1} % of new clients move", plan.clients_moved * 100.0));
    parts.push(format!(
        "{} of {} moved",
        plan.flows_moved,
        counted(plan.flows, "live flow", "live flows")
    ));
    parts.join(", ")
}

fn invalid(error: &ConfigError) -> Refusal {
    Refusal {
        kind: RefusalKind::InvalidConfig,
        message: error.to_string(),
    }
}
