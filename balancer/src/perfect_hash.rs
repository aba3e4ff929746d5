//! The building side of the perfect hash over endpoints.
