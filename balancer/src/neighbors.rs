//! Next hops of backends.
