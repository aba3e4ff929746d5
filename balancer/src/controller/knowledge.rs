//! What is known of the backends: their health, the ways to them, and which of them still have to prove themselves.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use balancer_common::abi::BackendFlags;
use hashbrown::{Equivalent, HashMap, HashSet};

use super::{BackendKey, desired::backends, downs::DownTimes, standing::Circumstances};
use crate::{
    config::{Backend, Config, Service},
    health::Health,
    intent::Endpoint,
    neighbors::{Unreachable, Way},
    reconcile::State,
};

/// What is known of the backends.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    health: HashMap<BackendKey, Health>,
    /// When backends went down that are held down if they do so too often.
    downs: DownTimes,
    /// Backends that live traffic speaks against.
    ejected: HashSet<BackendKey>,
    ways: HashMap<IpAddr, Result<Way, Unreachable>>,
    /// Backends that joined services which others serve, and are not yet known to be reachable and healthy.
    newcomers: HashSet<BackendKey>,
}

impl Knowledge {
    /// What the data plane's records say of the backends' health, as an earlier daemon left it.
    pub(super) fn remembered(config: &Config, state: &State, downs: DownTimes) -> Self {
        let known = &state.index;
        let mut knowledge = Self {
            downs,
            ..Self::default()
        };
        for (service, backend) in backends(config) {
            let index = super::desired::backend_index(known, service, backend);
            if let Some(entry) = index.and_then(|index| state.backends.get(&index)) {
                let health = if entry.record.flags.contains(BackendFlags::UP) {
                    Health::Up
                } else if entry.record.flags.contains(BackendFlags::DOWN) {
                    Health::Down
                } else {
                    Health::Unknown
                };
                knowledge.health.insert(key(service, backend), health);
            }
        }
        knowledge
    }

    /// The health of a backend: it is down if its probes or live traffic say so.
    pub(super) fn health(&self, service: &Service, backend: &Backend) -> Health {
        if self.is_ejected(service, backend) {
            return Health::Down;
        }
        self.probed(service, backend)
    }

    /// What the probes of a backend say. One that nobody probes is up.
    pub(super) fn probed(&self, service: &Service, backend: &Backend) -> Health {
        if service.health.is_none() {
            return Health::Up;
        }
        let health = self.health.get(&Named::new(service, backend));
        health.copied().unwrap_or(Health::Unknown)
    }

    /// Notes a verdict of the health check.
    pub(super) fn set_health(&mut self, backend: BackendKey, health: Health) {
        self.health.insert(backend, health);
    }

    /// When backends went down.
    pub(super) const fn downs(&self) -> &DownTimes {
        &self.downs
    }

    /// Notes that a backend goes down now, if that may be too often. Returns whether it is noted.
    pub(super) fn note_down(&mut self, service: &Service, backend: &Backend) -> bool {
        let damped = service.health.as_ref().filter(|check| check.flap_limit > 0);
        if let Some(check) = damped {
            let now = SystemTime::now();
            self.downs
                .note(key(service, backend), check.flap_limit, check.flap_window, now);
        }
        damped.is_some()
    }

    /// How long ago a backend went down, each time that may still count.
    pub(super) fn ages_of_downs(&self, service: &Service, backend: &Backend) -> Vec<Duration> {
        self.downs.ages(&key(service, backend), SystemTime::now())
    }

    /// Whether live traffic speaks against a backend.
    pub(super) fn is_ejected(&self, service: &Service, backend: &Backend) -> bool {
        self.ejected.contains(&Named::new(service, backend))
    }

    /// Notes what live traffic says of a backend.
    pub(super) fn set_ejected(&mut self, backend: BackendKey, ejected: bool) {
        if ejected {
            self.ejected.insert(backend);
        } else {
            self.ejected.remove(&backend);
        }
    }

    /// The way of packets to an address, if it is known.
    pub(super) fn way(&self, address: IpAddr) -> Option<&Result<Way, Unreachable>> {
        self.ways.get(&address)
    }

    /// Notes the way to an address.
    pub(super) fn set_way(&mut self, address: IpAddr, way: Result<Way, Unreachable>) {
        self.ways.insert(address, way);
    }

    /// Whether a backend still has to prove itself.
    pub(super) fn is_newcomer(&self, service: &Service, backend: &Backend) -> bool {
        self.newcomers.contains(&Named::new(service, backend))
    }

    /// What decides about each backend of a service.
    pub(super) fn circumstances(&self, service: &Service) -> Vec<Circumstances> {
        let backends = service.backends.iter();
        backends
            .map(|backend| Circumstances {
                admin: backend.admin,
                weight: backend.weight,
                backup: backend.backup,
                health: self.probed(service, backend),
                ejected: self.is_ejected(service, backend),
                newcomer: self.is_newcomer(service, backend),
            })
            .collect()
    }

    /// Follows a change of the configuration: forgets what is gone, and takes backends that join a service with others
    /// for newcomers.
    pub(super) fn follow(&mut self, before: &Config, after: &Config) {
        let mut health = HashMap::new();
        let mut ejected = HashSet::new();
        let mut downs = DownTimes::default();
        let mut newcomers = HashSet::new();
        for service in &after.services {
            let earlier = before.services.iter().find(|earlier| earlier.name == service.name);
            for backend in &service.backends {
                let endpoint = Endpoint::from(backend);
                let known = earlier.and_then(|earlier| {
                    let mut backends = earlier.backends.iter();
                    backends.find(|backend| Endpoint::from(*backend) == endpoint)
                });
                let joins = earlier.is_some_and(|earlier| !earlier.backends.is_empty());
                match known {
                    Some(known) => {
                        let (old, new) = (key(service, known), key(service, backend));
                        if let Some(known) = self.health.get(&old) {
                            health.insert(new.clone(), *known);
                        }
                        downs.inherit(new.clone(), self.downs.of(&old));
                        if self.ejected.contains(&old) && service.passive.is_some() {
                            ejected.insert(new.clone());
                        }
                        if self.newcomers.contains(&old) {
                            newcomers.insert(new);
                        }
                    }
                    None if joins => {
                        newcomers.insert(key(service, backend));
                    }
                    None => {}
                }
            }
        }
        let addresses: HashSet<IpAddr> = backends(after).map(|(_, backend)| backend.address).collect();
        self.ways.retain(|address, _| addresses.contains(address));
        self.health = health;
        self.ejected = ejected;
        self.downs = downs;
        self.newcomers = newcomers;
    }

    /// Takes those that have become newcomers since `earlier` for proven.
    pub(super) fn trust_newcomers_since(&mut self, earlier: &Self) {
        self.newcomers.retain(|newcomer| earlier.newcomers.contains(newcomer));
    }

    /// Takes backends that have proved themselves for newcomers no longer.
    pub(super) fn admit_newcomers(&mut self, config: &Config) {
        if self.newcomers.is_empty() {
            return;
        }
        for (service, backend) in backends(config) {
            let reachable = matches!(self.way(backend.address), Some(Ok(_)));
            if reachable && self.probed(service, backend) != Health::Unknown {
                self.newcomers.remove(&Named::new(service, backend));
            }
        }
    }
}

/// What a backend is called by, to look for it without a copy of the names.
#[derive(Hash)]
struct Named<'a>(&'a str, &'a str);

impl<'a> Named<'a> {
    fn new(service: &'a Service, backend: &'a Backend) -> Self {
        Self(&service.name, &backend.name)
    }
}

impl Equivalent<BackendKey> for Named<'_> {
    fn equivalent(&self, key: &BackendKey) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

fn key(service: &Service, backend: &Backend) -> BackendKey {
    (service.name.clone(), backend.name.clone())
}
