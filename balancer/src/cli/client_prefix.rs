//! One client or the clients of a prefix, as commands take them.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPrefix(pub IpNet);

/// The text is neither an address nor a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an address or a prefix: 10.0.0.1, 10.0.0.0/24 or 2001:db8::/48")]
pub struct NotAPrefix;

impl FromStr for ClientPrefix {
    type Err = NotAPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = text.parse::<IpAddr>().map(IpNet::from);
        one.or_else(|_no_address| text.parse())
            .map(Self)
            .map_err(|_neither| NotAPrefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_prefix_of_its_own() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(text.parse(), Ok(ClientPrefix(expected.parse().unwrap())), "{text}");
        }
        for text in ["", "10.0.0", "10.0.0.1:80", "10.0.0.0/33"] {
            assert_eq!(text.parse::<ClientPrefix>(), Err(NotAPrefix), "{text}");
        }
    }
}
