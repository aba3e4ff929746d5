//! Packets through the XDP program in the kernel: what becomes of each, byte for byte, and what is counted.

mod affinity;
mod cases;
mod clients;
mod drops;
mod dsr;
mod explanations;
mod flows;
mod inbound;
mod mutations;
mod passes;
mod replies;
mod routes;
mod services;
mod setting;
mod shared;
mod tracking;
mod tunnels;
