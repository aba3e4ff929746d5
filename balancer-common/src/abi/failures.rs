//! Failures that live traffic shows.

use super::record;

/// How often a backend has failed clients, where that is [watched](super::ServiceParts::watches_failures). All CPUs share
/// one record: failures are rare.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failures {
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were asked for again since there was no answer.
    pub unanswered: u64,
}
record!(Failures { refused, unanswered }, 16);
