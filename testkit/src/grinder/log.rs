//! Reads the log directly from the server, for comparison with the pods' responses.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull, stream::Stream};
use futures::StreamExt as _;

use super::stage::STREAM;
use crate::records::Record;

/// How long to wait for the next message, or for the state of the stream. A server that takes longer is considered
/// unresponsive.
const SILENCE: Duration = Duration::from_secs(30);

/// Records of a log, in order. [`Log::up_to`] and [`Log::last_before`] are correct only if these are all records of the
/// log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<Record>,
    /// When the server stored each record, unix time in milliseconds.
    stored_ms: Vec<i64>,
}

impl Log {
    /// Reads the whole log.
    pub(super) async fn read(url: &str) -> anyhow::Result<Self> {
        Self::read_after(url, 0).await
    }

    /// Reads the records after a position.
    pub(super) async fn read_after(url: &str, after: u64) -> anyhow::Result<Self> {
        let stream = stream(url).await?;
        let state = &stream.cached_info().state;
        let last = state.last_sequence;
        ensure!(
            state.messages == last,
            "the stream has {} messages but ends at {last}: some were removed",
            state.messages
        );
        let (mut log, mut ids, mut position) = (Self::default(), HashSet::new(), after);
        if last <= after {
            return Ok(log);
        }
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: after + 1 };
        let config = pull::OrderedConfig { deliver_policy, ..Default::default() };
        let mut messages = stream.create_consumer(config).await?.messages().await?;
        while position < last {
            let message = tokio::time::timeout(SILENCE, messages.next()).await;
            let message = message
                .context("the server stopped responding")?
                .context("the server ended the delivery")??;
            let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
            // The client library may create the consumer again, and messages are then repeated.
            if info.stream_sequence <= position {
                continue;
            }
            ensure!(info.stream_sequence == position + 1, "no message after {position}");
            position = info.stream_sequence;
            let text = String::from_utf8_lossy(&message.payload);
            let mut record =
                Record::read(&message.payload).with_context(|| format!("not a record: {text}"))?;
            record.sequence = position;
            log.stored_ms.push(info.published.timestamp_millis());
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
            let id = id.with_context(|| format!("a message without an id: {text}"))?.to_string();
            ensure!(ids.insert(id.clone()), "two messages have the id {id}: {text}");
            log.records.push(record);
        }
        Ok(log)
    }

    /// The newest position.
    pub(super) fn last(&self) -> u64 {
        self.records.last().map_or(0, |record| record.sequence)
    }

    /// The records up to a position.
    pub(super) fn up_to(&self, sequence: u64) -> &[Record] {
        let end = usize::try_from(sequence).unwrap_or(usize::MAX).min(self.records.len());
        self.records.get(..end).unwrap_or_default()
    }

    /// The newest position that was stored before an instant.
    pub(super) fn last_before(&self, time_ms: i64) -> u64 {
        u64::try_from(self.stored_ms.partition_point(|stored| *stored < time_ms)).unwrap_or(u64::MAX)
    }
}

/// The newest position of the log, if the server is available and has one.
pub(super) async fn last_sequence(url: &str) -> Option<u64> {
    let asked = tokio::time::timeout(SILENCE, stream(url)).await;
    asked.ok()?.ok().map(|stream| stream.cached_info().state.last_sequence)
}

async fn stream(url: &str) -> anyhow::Result<Stream> {
    let servers: Vec<&str> = url.split(',').collect();
    let context = jetstream::new(async_nats::connect(servers.as_slice()).await?);
    Ok(context.get_stream(STREAM).await?)
}
