//! The servers that stand on backends in tests and in the demo. `balancer_tests::lab::HttpServer` says what they answer.

mod quic;

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use balancer_tests::lab::{Checksum, Sequence};
use clap::{Parser, ValueEnum};
use futures_util::{StreamExt as _, stream};
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
    /// Directory of the certificate and the key that it shows, if it speaks QUIC.
    #[arg(long)]
    identity: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Http,
    Udp,
    Quic,
}

/// Bytes of a large body that are made at a time.
const CHUNK: u64 = 1 << 16;

/// What an HTTP server keeps in memory.
struct Memory {
    name: String,
    /// What `/health` answers, one after the other; the last stays.
    health: Mutex<VecDeque<StatusCode>>,
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
        Kind::Quic => quic::serve(args).await,
    }
}

async fn serve_udp(args: Args) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(args.listen).await?;
    println!("listening");
    let mut datagram = vec![0; 65_536];
    loop {
        let (_, client) = socket.recv_from(&mut datagram).await?;
        let answer = format!("{} {}", args.name, canonical(client));
        socket.send_to(answer.as_bytes(), client).await?;
    }
}

async fn serve_http(args: Args) -> anyhow::Result<()> {
    let memory = Arc::new(Memory {
        name: args.name,
        health: Mutex::new(VecDeque::from([StatusCode::OK])),
        visits: Mutex::default(),
    });
    let router = Router::new()
        .route("/", get(who))
        .route("/visit", get(visit))
        .route("/health", get(health))
        .route("/health/{statuses}", put(set_health))
        .route("/bytes/{count}", get(bytes))
        .route("/sum", put(sum))
        .route("/socket", get(socket))
        .with_state(memory)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening");
    axum::serve(listener, router).await.context("the server failed")
}

async fn who(State(memory): Shared, ConnectInfo(client): Client) -> Json<Value> {
    Json(json!({ "server": memory.name, "client": canonical(client).to_string() }))
}

async fn visit(State(memory): Shared, ConnectInfo(client): Client) -> Json<Value> {
    let client = canonical(client);
    let mut visits = lock(&memory.visits);
    let count = visits.entry(client.ip()).or_default();
    *count += 1;
    Json(json!({ "server": memory.name, "client": client.to_string(), "visits": *count }))
}

async fn health(State(memory): Shared) -> (StatusCode, Json<Value>) {
    let mut statuses = lock(&memory.health);
    let next = if statuses.len() > 1 {
        statuses.pop_front()
    } else {
        statuses.front().copied()
    };
    let status = next.unwrap_or(StatusCode::OK);
    let word = if status.is_success() { "ok" } else { "failing" };
    (status, Json(json!({ "status": word, "instance_id": memory.name })))
}

async fn set_health(State(memory): Shared, Path(statuses): Path<String>) -> StatusCode {
    match statuses.split(',').map(str::parse).collect() {
        Ok(statuses) => {
            *lock(&memory.health) = statuses;
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

async fn bytes(Path(count): Path<u64>) -> impl IntoResponse {
    let mut rest = Sequence::default().take(count);
    let chunks = std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        rest.by_ref().take(CHUNK).read_to_end(&mut chunk).ok()?;
        (!chunk.is_empty()).then(|| Ok::<_, Infallible>(Bytes::from(chunk)))
    });
    ([(CONTENT_LENGTH, count)], Body::from_stream(stream::iter(chunks)))
}

async fn sum(body: Body) -> Result<String, StatusCode> {
    let mut checksum = Checksum::default();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        checksum.update(&chunk.map_err(|_cut_off| StatusCode::BAD_REQUEST)?);
    }
    Ok(checksum.to_string())
}

async fn socket(State(memory): Shared, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| answer_messages(memory, socket))
}

async fn answer_messages(memory: Arc<Memory>, mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_)) && socket.send(Message::text(&*memory.name)).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address as the client knows it: a socket for both IP versions shows IPv4 addresses inside IPv6 ones.
const fn canonical(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}
