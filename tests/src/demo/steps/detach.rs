//! The data plane is taken off.

use crate::demo::{
    clients::Clients,
    judge,
    report::{Report, say},
    stage::{Service, Stage},
};

pub(in crate::demo) fn show(clients: &Clients<'_>, stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    report.act(
        "Detaching takes everything off",
        "`balancer detach`, and only that, ends it: the program leaves the interfaces, what was pinned is removed and the \
         daemon ends. The VIPs are then addresses of the balancer host like any other, where nobody listens.",
    );
    let network = stage.network;
    let attached = || {
        network
            .interfaces
            .iter()
            .filter_map(|name| network.balancer.xdp(name))
            .count()
    };
    let before = attached();
    let output = stage.balancer.command(&["detach"]);
    say(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim());
    let daemon = stage.balancer.wait();
    let after = attached();
    let mut answered = Vec::new();
    for service in Service::ALL {
        let late = clients.visit(clients.newcomer(service))?;
        let outcome = late.outcome.map(|visit| visit.server);
        answered.push(outcome.is_ok());
        say(&format!(
            "{} comes now: {}.",
            late.client,
            outcome.unwrap_or_else(|why| why)
        ));
    }
    report.claim(
        "The program is off both interfaces, by the kernel's word",
        judge::same(&[before, after], &[2, 0]),
    );
    report.claim(
        "`detach` succeeded, and the daemon ended by itself",
        judge::same(&[output.status.success(), daemon.success()], &[true; 2]),
    );
    report.claim(
        "Nothing is pinned any more",
        judge::same(&stage.balancer.settings.pin_path.exists(), &false),
    );
    report.claim(
        "No backend is reached through the VIPs any more",
        judge::same(&answered, &vec![false; 2]),
    );
    Ok(())
}
