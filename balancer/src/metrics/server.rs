//! The HTTP server.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{StreamExt as _, future::ready, stream};
use tokio::{net::TcpListener, task::spawn_blocking};

use super::{
    exposition::{self, Exposition},
    own::{self, DaemonMetrics},
    traffic,
};
use crate::controller::{Handle, Snapshot};

/// What the handlers need.
#[derive(Clone)]
struct Shared {
    controller: Handle,
    own: Arc<DaemonMetrics>,
}

/// Listens at `address`.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen at metrics.listen {address}: choose another address or port"))
}

/// Serves scrapes for good.
pub async fn serve(listener: TcpListener, controller: Handle, own: Arc<DaemonMetrics>) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(is_ready))
        .with_state(Shared { controller, own });
    axum::serve(listener, router)
        .await
        .context("the metrics endpoint failed")
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.controller.snapshot().await {
        Ok(snapshot) => ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text(snapshot, shared.own)).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// The text, which is read while it is written. If it breaks off, so does the connection.
fn text(snapshot: Snapshot, own: Arc<DaemonMetrics>) -> Body {
    let (mut exposition, mut pieces) = Exposition::new();
    let writing = spawn_blocking(move || {
        traffic::write(&mut exposition, &snapshot);
        // What follows from a probe is never shown without the probe: those are counted before the controller hears of them, and
        // read here after it was asked.
        own::write(&mut exposition, &own.keep());
        exposition.finish();
    });
    let pieces = stream::poll_fn(move |context| pieces.poll_recv(context)).map(Ok);
    let end = stream::once(writing).filter_map(|written| ready(written.err().map(Err)));
    Body::from_stream(pieces.chain(end))
}

/// The daemon answers, so it lives.
async fn alive() -> &'static str {
    "ok\n"
}

/// The data plane is attached and can be read.
async fn is_ready(State(shared): State<Shared>) -> Response {
    match shared.controller.snapshot().await {
        Ok(snapshot) if snapshot.status.dataplane.interfaces.is_empty() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the data plane is not attached\n").into_response()
        }
        Ok(_) => "ok\n".into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &anyhow::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}
