//! Copies the stream from the server, as it is at one moment, while pollers keep writing to it.
//!
//! The server sends the copy in pieces to an inbox of this process. The process acknowledges each piece, and the server
//! then sends more. The subject for the acknowledgement contains the number of the piece, so the process notices if one
//! is lost.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::{
    Nats,
    maintenance::{Description, MaintenanceError, PIECE_BYTES, STEP_TIMEOUT, json, refused_or, silent},
};
use crate::bus::ReadError;

/// The status of the last message of a successful snapshot.
const END_OF_SNAPSHOT: u16 = 204;

/// A snapshot of the stream that is being received.
pub struct Snapshot {
    nats: Nats,
    description: Description,
    pieces: Subscriber,
    received: u64,
    connections: watch::Receiver<u64>,
}

#[derive(Serialize)]
struct SnapshotRequest {
    deliver_subject: String,
    /// The stream's consumers are not backed up, because pods create new ones.
    no_consumers: bool,
    chunk_size: usize,
}

impl Nats {
    /// Starts copying the stream. Waits at most `patience` for servers that do not respond yet.
    pub async fn snapshot(&self, patience: Duration) -> Result<Snapshot, MaintenanceError> {
        // Only the stream's leader responds to the request, so wait until there is one.
        self.retry_for(patience, async || self.stream_info().await.map_err(refused_or)).await?;
        let connections = self.events.connections();
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let pieces = subscribed.map_err(|error| ReadError::Unavailable(error.into()))?;
        let request = SnapshotRequest { deliver_subject: inbox, no_consumers: true, chunk_size: PIECE_BYTES };
        let description =
            self.ask(&format!("$JS.API.STREAM.SNAPSHOT.{}", self.stream), json(&request)?).await?;
        Ok(Snapshot { nats: self.clone(), description, pieces, received: 0, connections })
    }
}

impl Snapshot {
    /// Describes the stream that is being copied.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the next piece of the copy, or `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, MaintenanceError> {
        let piece = tokio::select! {
            piece = timeout(STEP_TIMEOUT, self.pieces.next()) => piece,
            // The pieces that the server sent while there was no connection are lost.
            _ = self.connections.changed() => return Err(MaintenanceError::Disconnected),
        };
        let piece = piece.map_err(|_elapsed| silent("the NATS server stopped sending the backup"))?;
        let piece = piece.ok_or(MaintenanceError::Disconnected)?;
        if piece.payload.is_empty() {
            return self.end(&piece).map(|()| None);
        }
        self.received += 1;
        if let Some(reply) = piece.reply {
            let number = reply.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
            if number.is_some_and(|number| number != self.received) {
                return Err(MaintenanceError::Interrupted(format!(
                    "piece {} was lost in transfer",
                    self.received
                )));
            }
            let acknowledged = self.nats.client.publish(reply, Bytes::new()).await;
            acknowledged.map_err(|error| ReadError::Unavailable(error.into()))?;
        }
        Ok(Some(piece.payload))
    }

    /// Handles the last message, which has no content. If the snapshot failed, the status of that message is an error.
    fn end(&mut self, last: &Message) -> Result<(), MaintenanceError> {
        if self.connections.has_changed().unwrap_or(true) {
            return Err(MaintenanceError::Disconnected);
        }
        match last.status {
            None => Ok(()),
            Some(status) if status == END_OF_SNAPSHOT => Ok(()),
            Some(status) => {
                let reason = last.description.as_deref().unwrap_or_default();
                Err(MaintenanceError::Interrupted(format!("{status} {reason}")))
            }
        }
    }
}
