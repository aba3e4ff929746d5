//! `plan`

use super::{align_right, plain};
use crate::control::protocol::Plan;

/// What would change, then what becomes of the clients of each service, then of all.
pub(in crate::cli) fn plan(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nothing would change".to_owned();
    }
    let mut parts = vec![plan.changes.join("\n")];
    if !plan.services.is_empty() {
        let mut table = plain();
        table.set_header(["SERVICE", "SLOTS", "NEW CLIENTS", "KNOWN CLIENTS", "LIVE FLOWS"]);
        for service in &plan.services {
            table.add_row([
                service.service.clone(),
                format!("{} of {}", service.slots_moved, service.slots),
                percent(service.clients_moved),
                format!("{} of {}", service.known_clients_moved, service.known_clients),
                format!("{} of {}", service.flows_moved, service.flows),
            ]);
        }
        align_right(&mut table, 1);
        parts.push("what would move:".to_owned());
        parts.push(table.to_string());
    }
    parts.push(format!(
        "in all, {} of new clients, {} of {} known clients and {} of {} live flows would move",
        percent(plan.clients_moved),
        plan.known_clients_moved,
        plan.known_clients,
        plan.flows_moved,
        plan.flows
    ));
    parts.join("\n\n")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::PlannedService;

    #[test]
    fn a_plan_ends_with_what_moves_in_all() {
        let web = PlannedService {
            service: "web".to_owned(),
            slots: 65_537,
            slots_moved: 16_384,
            clients_moved: 0.25,
            flows_moved: 3,
            flows: 14,
            known_clients_moved: 2,
            known_clients: 9,
        };
        let text = plan(&Plan {
            clients_moved: 0.125,
            flows_moved: 3,
            flows: 20,
            known_clients_moved: 2,
            known_clients: 11,
            changes: vec!["web: backend 10.0.0.13:80 added".to_owned(), "api: removed".to_owned()],
            services: vec![web],
            ..Plan::default()
        });
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "web: backend 10.0.0.13:80 added",
                "api: removed",
                "",
                "what would move:",
                "",
                "SERVICE SLOTS NEW CLIENTS KNOWN CLIENTS LIVE FLOWS",
                "web 16384 of 65537 25.0 % 2 of 9 3 of 14",
                "",
                "in all, 12.5 % of new clients, 2 of 11 known clients and 3 of 20 live flows would move",
            ]
        );
    }

    #[test]
    fn an_empty_plan_says_so() {
        assert_eq!(plan(&Plan::default()), "nothing would change");
    }
}
