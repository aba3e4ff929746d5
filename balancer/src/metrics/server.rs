//! The HTTP server.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::spawn_blocking};

use super::{
    exposition::{self, Exposition},
    own::DaemonMetrics,
    traffic,
};
use crate::controller::Handle;

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
        .route("/readyz", get(ready))
        .with_state(Shared { controller, own });
    axum::serve(listener, router)
        .await
        .context("the metrics endpoint failed")
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match exposition(&shared).await {
        Ok(text) => ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn exposition(shared: &Shared) -> anyhow::Result<String> {
    let snapshot = shared.controller.snapshot().await?;
    // What follows from a probe is never shown without the probe: those are counted before the controller hears of them, and read
    // here after it was asked. With very many backends each half takes a while.
    let own = Arc::clone(&shared.own);
    let own = spawn_blocking(move || {
        let mut exposition = Exposition::default();
        own.write(&mut exposition);
        // What has been written is at most what is kept now.
        if let Err(error) = own.keep() {
            tracing::warn!("the next daemon counts from what was kept before: {error:#}");
        }
        exposition
    });
    let traffic = spawn_blocking(move || {
        let mut exposition = Exposition::default();
        traffic::write(&mut exposition, &snapshot);
        exposition
    });
    let failed = "the metrics could not be written";
    let (traffic, own) = (traffic.await.context(failed)?, own.await.context(failed)?);
    Ok(traffic.followed_by(&own))
}

/// The daemon answers, so it lives.
async fn alive() -> &'static str {
    "ok\n"
}

/// The data plane is attached and can be read.
async fn ready(State(shared): State<Shared>) -> Response {
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
