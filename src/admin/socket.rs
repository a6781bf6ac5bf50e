//! The socket's side of the protocol.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    AdminState, Operator,
    protocol::{Request, error},
    socket_file::SocketFile,
};

/// Peers at once; more wait to be accepted.
const PEERS: usize = 8;
/// Peers that wait for a reload at once, beside [`PEERS`]: a long reload must not keep anyone from asking for the status.
const WAITING: usize = 16;
/// The longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// The request must come, and the answer be taken, in this time each.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(file: &SocketFile, state: Arc<AdminState>) {
    let listener = match file.listener().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin socket does not work");
            return std::future::pending().await;
        }
    };
    let room = Arc::new(Semaphore::new(PEERS));
    let waiting = Arc::new(Semaphore::new(WAITING));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let operator = Arc::clone(&state.operator);
                let waiting = Arc::clone(&waiting);
                tokio::spawn(async move {
                    // Who does not wait for the answer does not want it.
                    let _gone = converse(stream, operator, permit, &waiting).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the admin socket cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    operator: Arc<dyn Operator>,
    permit: OwnedSemaphorePermit,
    waiting: &Semaphore,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    timeout(PEER_TIMEOUT, reader.read_until(b'\n', &mut line)).await??;
    let answer = match parse(&line) {
        Ok(Request::Reload {}) => {
            drop(permit);
            match waiting.try_acquire() {
                Ok(_waits) => perform(move || operator.reload()).await,
                Err(_) => error("too many wait for a reload already"),
            }
        }
        Ok(Request::Status {}) => perform(move || operator.status()).await,
        Err(message) => error(&message),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    timeout(PEER_TIMEOUT, writer.write_all(&text)).await??;
    timeout(PEER_TIMEOUT, writer.shutdown()).await?
}

fn parse(line: &[u8]) -> Result<Request, String> {
    if line.len() as u64 >= MAX_REQUEST && !line.ends_with(b"\n") {
        return Err(format!("a request has at most {MAX_REQUEST} bytes"));
    }
    Request::parse(line)
}

/// On a thread where waiting is allowed: a reload reads files and compiles.
async fn perform(work: impl FnOnce() -> Value + Send + 'static) -> Value {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| error("the gateway failed; see its log"))
}
