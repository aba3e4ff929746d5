//! `service …`

use clap::{Args, Subcommand};

use super::OutputArgs;
use crate::config::{Affinity, Forwarding, Protocol};

/// What can be done with services. Additions and removals outlive a restart.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List the services.
    List(OutputArgs),
    /// Show a service, its backends and its settings.
    Show {
        /// The service's name.
        service: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a service. Settings that no flag names have the defaults of the configuration file.
    Add(AddServiceArgs),
    /// Remove a service with its backends. Its clients are not served any more.
    Remove {
        /// The service's name.
        service: String,
    },
}

/// Flags of `service add`.
#[derive(Debug, Args)]
pub struct AddServiceArgs {
    /// The service's name.
    pub name: String,
    /// The VIP.
    #[arg(long)]
    pub address: String,
    /// A port, or several with commas; the flag may be repeated. None means every port.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<u16>,
    /// The transport protocol.
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// How packets reach the backends.
    #[arg(long, value_enum)]
    pub forwarding: Option<Forwarding>,
    /// What decides where a client goes.
    #[arg(long, value_enum)]
    pub affinity: Option<Affinity>,
    /// A backend's address, or several with commas; the flag may be repeated.
    #[arg(long = "backend", value_name = "ADDR", value_delimiter = ',')]
    pub backends: Vec<String>,
    /// Any other key of a service in the configuration file, as in `affinity_timeout=1h` or `health.kind=tcp`; the flag
    /// may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
}

/// `KEY=VALUE`
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key, from the outer table to the inner.
    pub path: Vec<String>,
    /// Its value: TOML if it can be read as that, else the text.
    pub value: toml::Value,
}

/// The text is no setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write KEY=VALUE, for example affinity_timeout=1h")]
pub struct NoSetting;

impl std::str::FromStr for Setting {
    type Err = NoSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or(NoSetting)?;
        let path: Vec<_> = key.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(NoSetting);
        }
        let value = value.trim();
        let parsed = toml::from_str(&format!("value = {value}")).ok();
        let parsed = parsed.and_then(|mut table: toml::Table| table.remove("value").filter(|_| table.is_empty()));
        Ok(Self {
            path,
            value: parsed.unwrap_or_else(|| value.into()),
        })
    }
}

impl AddServiceArgs {
    /// The service as a `[[service]]` table of a configuration file.
    pub fn toml(&self) -> Result<String, toml::ser::Error> {
        let Self {
            name,
            address,
            ports,
            protocol,
            forwarding,
            affinity,
            backends,
            settings,
        } = self;
        let mut service = toml::Table::new();
        let mut set = |key: &str, value: toml::Value| service.insert(key.to_owned(), value);
        set("name", name.clone().into());
        set("address", address.clone().into());
        set("ports", toml::Value::try_from(ports)?);
        for (key, value) in [
            ("protocol", protocol.map(toml::Value::try_from)),
            ("forwarding", forwarding.map(toml::Value::try_from)),
            ("affinity", affinity.map(toml::Value::try_from)),
        ] {
            if let Some(value) = value {
                set(key, value?);
            }
        }
        let backend = |address: &String| toml::Table::from_iter([("address".to_owned(), address.clone().into())]);
        set("backend", backends.iter().map(backend).collect::<Vec<_>>().into());
        for setting in settings {
            setting.put_into(&mut service);
        }
        toml::to_string(&toml::Table::from_iter([("service".to_owned(), vec![service].into())]))
    }
}

impl Setting {
    fn put_into(&self, mut table: &mut toml::Table) {
        let Some((key, outer)) = self.path.split_last() else {
            return;
        };
        for part in outer {
            let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
            if !inner.is_table() {
                *inner = toml::Table::new().into();
            }
            let toml::Value::Table(inner) = inner else { return };
            table = inner;
        }
        table.insert(key.clone(), self.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(text: &str) -> (Vec<String>, toml::Value) {
        let Setting { path, value } = text.parse().unwrap();
        (path, value)
    }

    #[test]
    fn a_value_is_toml_or_else_text() {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        for (text, key, value) in [
            ("affinity_timeout=1h", "affinity_timeout", "1h".into()),
            ("affinity_timeout=\"1h\"", "affinity_timeout", "1h".into()),
            ("maglev_size = 251", "maglev_size", 251.into()),
            ("panic_threshold=0.5", "panic_threshold", 0.5.into()),
            ("health.kind=tcp", "health.kind", "tcp".into()),
            ("wake=[\"/bin/true\"]", "wake", vec!["/bin/true"].into()),
            ("health.path=/a=b", "health.path", "/a=b".into()),
            ("x=1\ny=2", "x", "1\ny=2".into()),
            ("x=", "x", "".into()),
        ] {
            assert_eq!(setting(text), (path(key), value), "{text}");
        }
        for text in ["", "x", "=1", "x..y=1", ".x=1"] {
            assert_eq!(text.parse::<Setting>(), Err(NoSetting), "{text}");
        }
    }

    #[test]
    fn flags_become_a_table_of_the_configuration_file() {
        let args = AddServiceArgs {
            name: "dns".to_owned(),
            address: "192.0.2.53".to_owned(),
            ports: vec![53],
            protocol: Some(Protocol::Udp),
            forwarding: None,
            affinity: Some(Affinity::ClientIpPort),
            backends: vec!["10.0.0.11".to_owned(), "10.0.0.12:5353".to_owned()],
            settings: ["health.kind=tcp", "health.port=53", "maglev_size=251"]
                .map(|text| text.parse().unwrap())
                .into(),
        };
        let file = "version = 1\ndataplane.interfaces = ['eth0']\n";
        let expected = "
            [[service]]
            name = 'dns'
            address = '192.0.2.53'
            ports = [53]
            protocol = 'udp'
            maglev_size = 251
            health = { kind = 'tcp', port = 53 }
            [[service.backend]]
            address = '10.0.0.11'
            [[service.backend]]
            address = '10.0.0.12:5353'
        ";
        let parse = |text: &str| crate::config::parse(text, "f").unwrap().config;
        assert_eq!(
            parse(&format!("{file}{}", args.toml().unwrap())),
            parse(&format!("{file}{expected}"))
        );
    }
}
