//! How a command fails: what it says and the code that it exits with.

use std::{io, process::ExitCode};

use crate::{
    config::ConfigError,
    control::{
        client,
        protocol::{Refusal, RefusalKind},
    },
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is not valid. One line per problem, each with its place.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon says the same.
    #[error("{0}")]
    InvalidConfig(String),
    /// The daemon could not be asked, or refused.
    #[error("balancer: {0}")]
    Control(client::Error),
    /// The command was used in a way that cannot work.
    #[error("balancer: {0}")]
    Usage(String),
    /// Anything else.
    #[error("balancer: {0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// 1 failed, 2 wrong usage, 3 invalid configuration, 4 daemon not reachable, 5 no such service or backend.
    pub fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::Config(_) | Self::InvalidConfig(_) => 3,
            Self::Usage(_) => 2,
            Self::Control(client::Error::Unreachable { .. }) => 4,
            Self::Control(client::Error::Refused(Refusal { kind, .. })) => match kind {
                RefusalKind::NotFound => 5,
                RefusalKind::Usage => 2,
                RefusalKind::InvalidConfig => 3,
                RefusalKind::Failed => 1,
            },
            Self::Control(client::Error::Broken(_) | client::Error::Unreadable(_)) | Self::Other(_) => 1,
        };
        ExitCode::from(code)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Refused(Refusal {
                kind: RefusalKind::InvalidConfig,
                message,
            }) => Self::InvalidConfig(message),
            error => Self::Control(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}
