//! Packets through the XDP program in the kernel: what becomes of each, byte for byte, and what is counted.

mod affinity;
mod agreement;
mod cases;
mod clients;
mod decap;
mod drops;
mod dsr;
mod explanations;
mod failures;
mod flows;
mod fragments;
mod full_nat;
mod icmp;
mod inbound;
mod least_flows;
mod mutations;
mod passes;
mod rejects;
mod replies;
mod routes;
mod sequences;
mod services;
mod setting;
mod shared;
mod tracking;
mod tunnels;
