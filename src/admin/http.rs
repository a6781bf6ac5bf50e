//! `/healthz`, `/readyz` and `/metrics`.

use std::{convert::Infallible, net::TcpListener, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet};

use super::{AdminState, Ready};
use crate::telemetry::metrics;

/// Connections at once; more wait to be accepted. Someone who reaches the address cannot make the gateway hold more.
const CONNECTIONS: usize = 32;
/// A request's head must come in this time, also on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed after this time whatever it does, so that slow readers do not hold all of them.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// A pause when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until a successor does; then until the connections that are left have ended, each with its next answer or when
/// none is asked for: a check that is on its way must not fail.
pub(super) async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(listener, &state, &mut connections) => {}
        () = state.readiness.reached(Ready::HandedOver) => {}
    }
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, state: &Arc<AdminState>, connections: &mut JoinSet<()>) {
    let listening = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin listener does not work");
            return std::future::pending().await;
        }
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        // Those that have ended take no room.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                connections.spawn(async move {
                    // A monitoring client that breaks off is its own business.
                    let _ended = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, state)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut response = respond(&request, &state);
        if state.readiness.get() == Ready::HandedOver {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        async { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn respond(request: &Request<Incoming>, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => match state.readiness.get() {
            Ready::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
            // What is connected from now on is served, by the successor.
            Ready::Serving | Ready::HandedOver => text(StatusCode::OK, "ready\n".to_owned()),
            Ready::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, state.metrics.render());
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "only /healthz, /readyz and /metrics are here\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
