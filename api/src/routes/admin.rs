//! The routes on the admin listener.

mod log_filter;

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use common::telemetry::chain;
use futures::stream;
use http::header;
use poem::{Body, Endpoint, EndpointExt, Response, Route, handler, post, web::Data};
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::State;
use crate::problem::{Code, Problem};
use ledger::store::backup::{Backup, BackupError};

pub(crate) use log_filter::{LOG_FILTER_PATH, log_filter_route};

/// The maximum number of concurrent backups. Each needs as much disk space as the store.
const MAX_BACKUPS: usize = 1;

/// How much of a backup is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many chunks are read ahead of the client.
const CHUNKS_AHEAD: usize = 4;

/// How long a client may read nothing before the pod stops sending the backup.
const MAX_STALL: Duration = Duration::from_secs(60);

/// The `Retry-After` while another backup is running. Most backups take less time than this.
const RETRY_SECONDS: u64 = 10;

/// The routes under `/admin` that need the store.
pub(crate) fn routes(state: &Arc<State>) -> impl Endpoint + use<> {
    let places = Arc::new(Semaphore::new(MAX_BACKUPS));
    Route::new().at("/backup", post(backup).data(state.clone()).data(places))
}

/// Sends a consistent copy of the store. This is a POST, so that no link or image can start a backup.
#[handler]
async fn backup(state: Data<&Arc<State>>, places: Data<&Arc<Semaphore>>) -> Result<Response, Problem> {
    let place = places.0.clone().try_acquire_owned().map_err(|_| {
        let detail = "another backup is being made or sent; retry when it is done";
        Problem::new(Code::BackupRunning, detail).retry_after(RETRY_SECONDS)
    })?;
    let (store, now) = (state.store.clone(), state.clock.now());
    let made = tokio::task::spawn_blocking(move || store.backup(now)).await;
    let made = made.map_err(Problem::internal)?;
    let Backup { file, summary, held } = made.map_err(refuse)?;
    let (sequence, held_millis) = (summary.header.sequence, held.as_millis());
    tracing::info!(
        event = "backup_made",
        sequence,
        rows = summary.rows,
        bytes = summary.bytes,
        held_millis,
        "made a backup of the store; sending it"
    );
    let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(send(tokio::fs::File::from_std(file), sender, place));
    let body = Body::from_bytes_stream(stream::poll_fn(move |context| chunks.poll_recv(context)));
    let file_name = format!("attachment; filename=\"tickwell-{sequence}.backup\"");
    Ok(Response::builder()
        .content_type("application/octet-stream")
        .header(header::CONTENT_LENGTH, summary.bytes)
        .header(header::CONTENT_DISPOSITION, file_name)
        .header(header::CACHE_CONTROL, "no-store")
        .body(body))
}

/// Sends the backup as fast as the client reads it. If sending stops early, the client notices because it has received
/// fewer bytes than `Content-Length`.
async fn send(
    mut file: tokio::fs::File,
    chunks: mpsc::Sender<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
) {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = match file.read_buf(&mut chunk).await {
            Ok(0) => return,
            Ok(_length) => Ok(chunk.freeze()),
            Err(error) => {
                tracing::error!(
                    event = "backup_not_readable",
                    error = chain(&error),
                    "cannot read the file of a new backup; the client gets an incomplete copy"
                );
                Err(error)
            }
        };
        let is_last = read.is_err();
        match timeout(MAX_STALL, chunks.send(read)).await {
            Ok(Ok(())) if !is_last => {}
            Ok(_) => return,
            Err(_elapsed) => {
                tracing::warn!(
                    event = "backup_abandoned",
                    stalled_ms = MAX_STALL.as_millis(),
                    "stopped sending a backup because the client no longer reads; the client's copy is incomplete"
                );
                return;
            }
        }
    }
}

fn refuse(error: BackupError) -> Problem {
    tracing::error!(event = "backup_failed", error = chain(&error), "making a backup of the store failed");
    match error {
        BackupError::Store(error) => error.into(),
        BackupError::Write(_) => Problem::new(
            Code::Internal,
            "the backup could not be written next to the store, where it needs as much free disk space as the store \
             itself; the server's log has the details",
        ),
    }
}
