//! Waking suspended backends when packets come for them.

use std::{collections::HashSet, process::Command, thread};

use balancer_common::abi::WakeRequest;

use super::{BackendKey, Controller, desired};
use crate::{
    config::{Backend, Service},
    control::protocol::EventKind,
};

/// Backends that have been woken and are not up yet.
#[derive(Debug, Default)]
pub(super) struct Woken(HashSet<BackendKey>);

impl Woken {
    /// Notes that a backend is up, so that it can be woken again when it sleeps again.
    pub(super) fn forget(&mut self, backend: &BackendKey) {
        self.0.remove(backend);
    }
}

impl Controller {
    /// Wakes a backend that a packet has come for, unless that has been done already.
    pub(super) fn take_wake_request(&mut self, request: WakeRequest) {
        let config = &self.intent.running;
        let entry = self.dataplane.state().backends.get(&request.backend);
        // It may have been on its way while its backend was removed.
        let Some(record) = entry
            .map(|entry| entry.record)
            .filter(|record| record.incarnation == request.incarnation)
        else {
            return;
        };
        let known = &self.dataplane.state().index;
        let sleeper = desired::backends(config).find(|(service, backend)| {
            known.services.get(service.name.as_str()) == Some(&record.service)
                && desired::has_identity(backend, record.address, record.port)
        });
        let Some((service, backend)) = sleeper else {
            return;
        };
        if !self.woken.0.insert((service.name.clone(), backend.name.clone())) {
            return;
        }
        let key = (service.name.clone(), backend.name.clone());
        let command = command(service, backend);
        let cause = match command {
            Some(_) => "a packet has come for it while it is suspended",
            None => "a packet has come for it while it is suspended, but its service has no wake command",
        };
        if let Some(command) = command {
            run(format!("{}/{}", key.0, key.1), command);
        }
        self.expect(EventKind::Woken, key, cause.to_owned());
    }
}

/// The command that wakes a backend; `None` if its service has none.
fn command(service: &Service, backend: &Backend) -> Option<Command> {
    let words = wake_words(&service.wake, &service.name, &backend.name, &backend.endpoint());
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments);
    Some(command)
}

/// The words of a wake command with `{service}`, `{backend}` and `{address}` filled in.
fn wake_words(words: &[String], service: &str, backend: &str, address: &str) -> Vec<String> {
    let fill = |word: &String| {
        word.replace("{service}", service)
            .replace("{backend}", backend)
            .replace("{address}", address)
    };
    words.iter().map(fill).collect()
}

/// Runs a command beside the controller, and says if it fails.
fn run(name: String, mut command: Command) {
    thread::spawn(move || match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::error!("the wake command for {name} failed: {status}"),
        Err(error) => tracing::error!("the wake command for {name} cannot be run: {error}"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_command_name_what_is_to_be_woken() {
        let words = ["/usr/bin/wake", "--host={backend}", "{address} of {service}"].map(str::to_owned);
        assert_eq!(
            wake_words(&words, "web", "b1", "10.0.0.1:80"),
            ["/usr/bin/wake", "--host=b1", "10.0.0.1:80 of web"]
        );
    }
}
