//! What operators mean by the names and addresses that they write.

use crate::{
    config::{self, Backend, Config, Service},
    control::protocol::{Refusal, RefusalKind},
};

/// The service of that name.
pub(super) fn service<'c>(config: &'c Config, name: &str) -> Result<&'c Service, Refusal> {
    let mut services = config.services.iter();
    services.find(|service| service.name == name).ok_or_else(|| {
        let names = config.services.iter().map(|service| service.name.clone());
        not_found(&format!("there is no service {name}"), names)
    })
}

/// The backend of that name, or at that address. The port may be left out where the address has one backend.
pub(super) fn backend<'s>(service: &'s Service, text: &str) -> Result<&'s Backend, Refusal> {
    let backends = &service.backends;
    if let Some(backend) = backends.iter().find(|backend| backend.name == text) {
        return Ok(backend);
    }
    let endpoint = config::backend_address(text).ok();
    let at = endpoint.map_or_else(Vec::new, |(address, port)| {
        let at_address = backends.iter().filter(|backend| backend.address == address);
        let exact = at_address.clone().filter(|backend| backend.port == port);
        match (exact.collect::<Vec<_>>(), port) {
            (exact, _) if !exact.is_empty() => exact,
            (_, None) => at_address.collect(),
            (_, Some(_)) => Vec::new(),
        }
    });
    match *at {
        [backend] => Ok(backend),
        [] => Err(not_found(
            &format!("{} has no backend {text}", service.name),
            backends.iter().map(shown),
        )),
        [..] => {
            let several: Vec<_> = at.into_iter().map(shown).collect();
            Err(usage(format!(
                "{text} could be any of {}: name one, or write its port",
                several.join(", ")
            )))
        }
    }
}

/// A backend as messages call it: its name, and its address if that is another.
pub(super) fn shown(backend: &Backend) -> String {
    let endpoint = backend.endpoint();
    if endpoint == backend.name {
        endpoint
    } else {
        format!("{} ({endpoint})", backend.name)
    }
}

/// A refusal of a request that is at fault itself.
pub(super) fn usage(message: String) -> Refusal {
    Refusal {
        kind: RefusalKind::Usage,
        message,
    }
}

/// A refusal of a request about something that is not there, with what is.
pub(super) fn not_found(message: &str, existing: impl Iterator<Item = String>) -> Refusal {
    let existing: Vec<_> = existing.collect();
    let existing = match &*existing {
        [] => "there are none".to_owned(),
        existing => format!("there are {}", existing.join(", ")),
    };
    Refusal {
        kind: RefusalKind::NotFound,
        message: format!("{message}: {existing}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Config {
        let backends = [
            ("name = 'b1'\n", "10.0.0.11:80"),
            ("name = 'b2'\n", "10.0.0.12:80"),
            ("name = 'b3'\n", "10.0.0.12:81"),
            ("", "10.0.0.13"),
            ("name = '10.0.0.14:80'\n", "10.0.0.14:80"),
        ];
        let backends = backends.map(|(name, address)| format!("[[service.backend]]\n{name}address = '{address}'\n"));
        let text = format!(
            "version = 1\ndataplane.interfaces = ['eth0']\n[[service]]\nname = 'web'\naddress = '192.0.2.10'\n\
             ports = [80]\n{}",
            backends.concat()
        );
        config::parse(&text, "f").unwrap().config
    }

    #[test]
    fn a_backend_is_found_by_its_name_or_its_address() {
        let config = web();
        let web = service(&config, "web").unwrap();
        for (text, expected) in [
            ("b1", "10.0.0.11:80"),
            ("10.0.0.11:80", "10.0.0.11:80"),
            ("10.0.0.11", "10.0.0.11:80"),
            ("10.0.0.12:81", "10.0.0.12:81"),
            ("10.0.0.13", "10.0.0.13"),
            ("10.0.0.14", "10.0.0.14:80"),
        ] {
            assert_eq!(
                backend(web, text).map(Backend::endpoint),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let config = web();
        let web = service(&config, "web").unwrap();
        let all = "b1 (10.0.0.11:80), b2 (10.0.0.12:80), b3 (10.0.0.12:81), 10.0.0.13, 10.0.0.14:80";
        for text in ["b9", "10.0.0.11:81", "10.0.0.13:80", "10.0.0.99", ""] {
            let refusal = backend(web, text).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::NotFound);
            assert_eq!(refusal.message, format!("web has no backend {text}: there are {all}"));
        }
        let refusal = service(&config, "api").unwrap_err();
        assert_eq!(refusal.message, "there is no service api: there are web");
        assert_eq!(refusal.kind, RefusalKind::NotFound);
    }

    #[test]
    fn an_address_with_several_backends_stands_for_none_of_them() {
        let config = web();
        let refusal = backend(service(&config, "web").unwrap(), "10.0.0.12").unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Usage);
        assert_eq!(
            refusal.message,
            "10.0.0.12 could be any of b2 (10.0.0.12:80), b3 (10.0.0.12:81): name one, or write its port"
        );
    }
}
