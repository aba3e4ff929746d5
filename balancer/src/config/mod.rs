//! Configuration: from a TOML file to the validated [`Config`].

mod model;

pub use model::*;
