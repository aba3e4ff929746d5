//! Empty: it gives `balancer` a library to depend on, so that cargo rebuilds the daemon when the programs change.

#![no_std]
