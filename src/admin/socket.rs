//! The socket's side of the protocol.

use std::{io, ops::RangeInclusive, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{
    AdminState, Operator, Ready,
    protocol::{Request, error},
    socket_file::SocketFile,
};
use crate::handover::Opening;

/// Peers at once; more wait to be accepted.
const PEERS: usize = 8;
/// Peers that wait for a reload or an upgrade at once, beside [`PEERS`]: a long one must not keep anyone from asking for the
/// status.
const WAITING: usize = 16;
/// The longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// The request must come, and the answer be taken, in this time each.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// A reload may wait so long for its confirmation: a day, and no deadline overflows.
const CONFIRM_SECONDS: RangeInclusive<u64> = 1..=86_400;
/// A pause when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until a successor does; then until all who asked have their answer.
pub(super) async fn serve(file: &SocketFile, state: Arc<AdminState>) {
    let mut conversations = JoinSet::new();
    tokio::select! {
        () = accept(file, &state, &mut conversations) => {}
        () = state.readiness.reached(Ready::HandedOver) => {}
    }
    while conversations.join_next().await.is_some() {}
}

async fn accept(file: &SocketFile, state: &AdminState, conversations: &mut JoinSet<()>) {
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
        // Those that have ended take no room.
        while conversations.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let operator = Arc::clone(&state.operator);
                let waiting = Arc::clone(&waiting);
                conversations.spawn(async move {
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
) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    timeout(PEER_TIMEOUT, reader.read_until(b'\n', &mut line)).await??;
    let request = parse(&line);
    let waits = match &request {
        Ok(Request::Status {} | Request::Event { .. }) | Err(_) => None,
        Ok(Request::Reload { .. } | Request::Confirm {} | Request::Upgrade {} | Request::Takeover(_)) => {
            drop(permit);
            let Ok(waits) = waiting.try_acquire() else {
                return say(writer, &error("too many wait for a reload or an upgrade already")).await;
            };
            Some(waits)
        }
    };
    let answer = match request {
        Ok(Request::Status {}) => perform(move || operator.status()).await,
        Ok(Request::Event { id }) => perform(move || operator.event(&id)).await,
        Ok(Request::Reload { confirm }) => match confirm.map(confirm_within).transpose() {
            Ok(confirm) => perform(move || operator.reload(confirm)).await,
            Err(message) => error(&message),
        },
        Ok(Request::Confirm {}) => perform(move || operator.confirm()).await,
        Ok(Request::Upgrade {}) => perform(move || operator.upgrade()).await,
        Ok(Request::Takeover(opening)) => {
            let reader = reader.into_inner().into_inner();
            let stream = reader.reunite(writer).map_err(io::Error::other)?;
            return hand_over(stream, opening, operator).await;
        }
        Err(message) => error(&message),
    };
    drop(waits);
    say(writer, &answer).await
}

async fn say(mut writer: OwnedWriteHalf, answer: &Value) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    timeout(PEER_TIMEOUT, writer.write_all(&text)).await??;
    timeout(PEER_TIMEOUT, writer.shutdown()).await?
}

/// A conversation of its own, on a thread where waiting is allowed.
async fn hand_over(stream: UnixStream, opening: Opening, operator: Arc<dyn Operator>) -> io::Result<()> {
    let peer = stream.peer_cred()?.pid();
    let pid = peer.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
    let stream = stream.into_std()?;
    let conversation = tokio::task::spawn_blocking(move || operator.hand_over(stream, &opening, pid));
    // A panic of it was reported where it happened, and its end ends the conversation.
    conversation.await.map_err(io::Error::other)
}

fn parse(line: &[u8]) -> Result<Request, String> {
    if line.len() as u64 >= MAX_REQUEST && !line.ends_with(b"\n") {
        return Err(format!("a request has at most {MAX_REQUEST} bytes"));
    }
    Request::parse(line)
}

/// How long a reload may wait for its confirmation.
fn confirm_within(seconds: u64) -> Result<Duration, String> {
    match CONFIRM_SECONDS.contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(format!(
            "a reload waits {} to {} seconds for its confirmation, not {seconds}",
            CONFIRM_SECONDS.start(),
            CONFIRM_SECONDS.end()
        )),
    }
}

/// On a thread where waiting is allowed: a reload reads files and compiles.
async fn perform(work: impl FnOnce() -> Value + Send + 'static) -> Value {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| error("the gateway failed; see its log"))
}
