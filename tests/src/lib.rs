//! What the packet tests, the end-to-end tests and the demo share.
//!
//! README.md draws the topologies.

#![expect(
    clippy::missing_panics_doc,
    reason = "whatever the lab cannot do fails the test that asked for it"
)]

pub mod bench;
pub mod demo;
pub mod lab;
pub mod packet;
