//! Health checks of real servers on the loopback interface that fail in each of the ways in which servers do.

mod certificates;
mod command;
mod datagrams;
mod dns;
mod grpc;
mod harness;
mod https;
mod recovery;
mod tcp;
mod udp;
mod web;
