//! The servers that stand on backends in tests and in the demo. `balancer_tests::lab::HttpServer` says what they answer.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, State},
    http::StatusCode,
    routing::{get, put},
};
use balancer_tests::lab::HttpServer;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};

/// A server for tests.
#[derive(Parser)]
struct Args {
    /// What it speaks.
    kind: Kind,
    /// What it calls itself.
    #[arg(long)]
    name: String,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Http,
    Udp,
}

/// What an HTTP server keeps in memory.
struct Memory {
    name: String,
    health: Mutex<StatusCode>,
    visits: Mutex<HashMap<IpAddr, u64>>,
}

type Shared = State<Arc<Memory>>;
type Client = ConnectInfo<SocketAddr>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.kind {
        Kind::Http => serve_http(args).await,
        Kind::Udp => serve_udp(args).await,
    }
}

async fn serve_udp(args: Args) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(args.listen).await?;
    println!("listening");
    let mut datagram = vec![0; 65_536];
    loop {
        let (_, client) = socket.recv_from(&mut datagram).await?;
        let answer = format!("{} {client}", args.name);
        socket.send_to(answer.as_bytes(), client).await?;
    }
}

async fn serve_http(args: Args) -> anyhow::Result<()> {
    let memory = Arc::new(Memory {
        name: args.name,
        health: Mutex::new(StatusCode::OK),
        visits: Mutex::default(),
    });
    let router = Router::new()
        .route("/", get(who))
        .route("/visit", get(visit))
        .route("/health", get(health))
        .route("/health/{status}", put(set_health))
        .route("/bytes/{count}", get(bytes))
        .route("/sum", put(sum))
        .layer(DefaultBodyLimit::disable())
        .with_state(memory)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening");
    axum::serve(listener, router).await.context("the server failed")
}

async fn who(State(memory): Shared, ConnectInfo(client): Client) -> Json<Value> {
    Json(json!({ "server": memory.name, "client": client.to_string() }))
}

async fn visit(State(memory): Shared, ConnectInfo(client): Client) -> Json<Value> {
    let mut visits = memory.visits.lock().unwrap_or_else(PoisonError::into_inner);
    let count = visits.entry(client.ip()).or_default();
    *count += 1;
    Json(json!({ "server": memory.name, "client": client.to_string(), "visits": *count }))
}

async fn health(State(memory): Shared) -> (StatusCode, Json<Value>) {
    let status = *memory.health.lock().unwrap_or_else(PoisonError::into_inner);
    let word = if status.is_success() { "ok" } else { "failing" };
    (status, Json(json!({ "status": word, "instance_id": memory.name })))
}

async fn set_health(State(memory): Shared, Path(status): Path<u16>) -> StatusCode {
    let Ok(status) = StatusCode::from_u16(status) else {
        return StatusCode::BAD_REQUEST;
    };
    *memory.health.lock().unwrap_or_else(PoisonError::into_inner) = status;
    StatusCode::NO_CONTENT
}

async fn bytes(Path(count): Path<usize>) -> Vec<u8> {
    HttpServer::bytes(count)
}

async fn sum(body: Bytes) -> String {
    HttpServer::checksum(&body)
}
