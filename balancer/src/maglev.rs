//! Maglev hashing.
