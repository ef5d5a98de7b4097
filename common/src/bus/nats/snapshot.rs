//! Copying the stream out of the server, as of one moment, while it is written.
//!
//! The server sends the copy in pieces to a subject of ours, and the next ones when it is told that the earlier ones have
//! arrived. Each piece carries its number where that is to be said, so that one which was lost is missed.

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

/// The status of the last message where all went well.
const END_OF_ALL: u16 = 204;

/// A copy of the stream that is being made.
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
    /// Consumers belong to pods, which create new ones.
    no_consumers: bool,
    chunk_size: usize,
}

impl Nats {
    /// Begins to copy the stream. Waits for a stream whose servers do not answer yet, for at most `patience`.
    pub async fn snapshot(&self, patience: Duration) -> Result<Snapshot, MaintenanceError> {
        // Only the stream's leader answers, and only where there is one.
        self.patiently(patience, async || self.stream_info().await.map_err(refused_or)).await?;
        let connections = self.reports.connections();
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
    /// What the copy will hold.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The next piece of the copy; nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, MaintenanceError> {
        let piece = tokio::select! {
            piece = timeout(STEP_TIMEOUT, self.pieces.next()) => piece,
            // What was sent in between is lost.
            _ = self.connections.changed() => return Err(MaintenanceError::Disconnected),
        };
        let piece = piece.map_err(|_elapsed| silent("the next piece of the backup does not come"))?;
        let piece = piece.ok_or(MaintenanceError::Disconnected)?;
        if piece.payload.is_empty() {
            return self.end(&piece).map(|()| None);
        }
        self.received += 1;
        if let Some(reply) = piece.reply {
            let number = reply.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
            if number.is_some_and(|number| number != self.received) {
                return Err(MaintenanceError::BrokenOff(format!(
                    "piece {} was lost on the way",
                    self.received
                )));
            }
            let acknowledged = self.nats.client.publish(reply, Bytes::new()).await;
            acknowledged.map_err(|error| ReadError::Unavailable(error.into()))?;
        }
        Ok(Some(piece.payload))
    }

    /// The last message has no content. An end that is a failure says so in its status.
    fn end(&mut self, last: &Message) -> Result<(), MaintenanceError> {
        if self.connections.has_changed().unwrap_or(true) {
            return Err(MaintenanceError::Disconnected);
        }
        match last.status {
            None => Ok(()),
            Some(status) if status == END_OF_ALL => Ok(()),
            Some(status) => {
                let reason = last.description.as_deref().unwrap_or_default();
                Err(MaintenanceError::BrokenOff(format!("{status} {reason}")))
            }
        }
    }
}
