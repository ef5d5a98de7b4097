//! What only operators may ask of a pod, on a listener of their own.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use common::telemetry::chain;
use futures::stream;
use http::header;
use poem::{Body, Endpoint, EndpointExt, Response, Route, get, handler, web::Data};
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::State;
use crate::problem::{Code, Problem};
use ledger::store::backup::{Backup, BackupError};

/// Copies of the store that are made or sent at once: each takes as much room on the disk as the store.
const MAX_BACKUPS: usize = 1;

/// How much of a copy is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much of it is read ahead of the client: as many chunks.
const CHUNKS_AHEAD: usize = 4;

/// How long a client may take nothing before its copy is given up.
const MAX_STALL: Duration = Duration::from_secs(60);

/// When to come back while another backup is made. Most take less.
const RETRY_SECONDS: u64 = 10;

/// The routes under `/admin`.
pub(crate) fn routes(state: &Arc<State>) -> impl Endpoint + use<> {
    let places = Arc::new(Semaphore::new(MAX_BACKUPS));
    Route::new().at("/backup", get(backup).data(state.clone()).data(places))
}

/// A copy of the store as of one moment.
#[handler]
async fn backup(state: Data<&Arc<State>>, places: Data<&Arc<Semaphore>>) -> Result<Response, Problem> {
    let place = places.0.clone().try_acquire_owned().map_err(|_| {
        let detail = "another backup is being made or sent; come back when it is done";
        Problem::new(Code::BackupRunning, detail).retry_after(RETRY_SECONDS)
    })?;
    let (store, now) = (state.store.clone(), state.clock.now());
    let made = tokio::task::spawn_blocking(move || store.backup(now)).await;
    let made = made.map_err(Problem::internal)?;
    let Backup { file, summary, held } = made.map_err(refuse)?;
    let (sequence, held_millis) = (summary.header.sequence, held.as_millis());
    tracing::info!(sequence, rows = summary.rows, bytes = summary.bytes, held_millis, "made a backup");
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

/// Sends the copy as fast as it is taken. A client that finds less than it was promised knows that it is not
/// whole.
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
                tracing::error!(error = chain(&error), "cannot read the backup that was just made");
                Err(error)
            }
        };
        let is_last = read.is_err();
        match timeout(MAX_STALL, chunks.send(read)).await {
            Ok(Ok(())) if !is_last => {}
            Ok(_) => return,
            Err(_elapsed) => {
                tracing::warn!("gave up a backup that nobody took for {MAX_STALL:?}");
                return;
            }
        }
    }
}

fn refuse(error: BackupError) -> Problem {
    tracing::error!(error = chain(&error), "no backup was made");
    match error {
        BackupError::Store(error) => error.into(),
        BackupError::Write(_) => Problem::new(
            Code::Internal,
            "the copy could not be written beside the store: a backup needs as much room again; the server's log has \
             the details",
        ),
    }
}
