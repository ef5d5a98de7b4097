//! The mirror: a copy of the log in another account, for external subscribers.
//!
//! The mirror has the same sequences as the log. External subscribers may read and replay it, and cannot reach the
//! account of the log, where the lease is. `nats/nats.conf` lets the role admin manage the mirror from the account of the
//! log, under the subjects `FEED.API`. A server without such an account has no mirror.

use async_nats::{
    client::RequestErrorKind,
    jetstream::{
        self,
        stream::{Config, Info, Source},
    },
};

use super::{
    Nats, NatsError, REQUEST_TIMEOUT,
    setup::{Presence, StreamReport},
    stream::{RESTORED_MARK, identity},
};
use crate::bus::ReadError;

/// The definition. It is a separate file so that operators can use it with the NATS command line.
const DEFINITION: &str = include_str!("../../../../nats/mirror.json");

/// The prefix of requests about the streams of the account for external subscribers.
const API: &str = "FEED.API";

/// The key in the mirror's metadata that says which log the mirror copies.
const LOG_MARK: &str = "tickwell_log";

const NO_ACCOUNT: &str = "the NATS server has no account FEED as in nats/nats.conf";

const NO_PERMISSION: &str =
    "the role admin has no permission to create it; copy the current nats/nats.conf to the servers";

impl Nats {
    /// Compares the mirror with its definition.
    pub(super) async fn verify_mirror(&self) -> Result<StreamReport, NatsError> {
        if let Some(reason) = self.why_no_mirror().await? {
            return Ok(self.left_out(reason));
        }
        let feed = self.feed();
        let mirror = feed.get_stream(&self.stream).await.ok().map(|stream| stream.cached_info().clone());
        // The log is asked after the mirror, so that it is never behind.
        let Some(log) = self.log_info().await? else {
            return Ok(self.named(StreamReport::missing(&self.stream)));
        };
        let wanted = self.mirror_definition(&log)?;
        let (_, report) = self.report(&feed, &wanted).await?;
        let is_outdated = mirror.is_some_and(|mirror| copies_another_log(&mirror, &wanted, &log));
        let presence = if is_outdated { Presence::Outdated } else { report.presence };
        Ok(self.named(StreamReport { presence, ..report }))
    }

    /// Creates the mirror, or corrects its options. A mirror of an earlier log is deleted and created again, because it
    /// would never continue.
    pub async fn apply_mirror(&self) -> Result<StreamReport, NatsError> {
        let found = self.verify_mirror().await?;
        if matches!(found.presence, Presence::LeftOut(_)) {
            return Ok(found);
        }
        if found.presence == Presence::Outdated {
            self.delete_existing_mirror().await?;
        }
        let log =
            self.log_info().await?.ok_or_else(|| ReadError::Unavailable("there is no log to copy".into()))?;
        let wanted = self.mirror_definition(&log)?;
        Ok(self.named(self.apply_one(&self.feed(), &wanted).await?))
    }

    /// Deletes the mirror if there is one, so that it can be created again. This is needed if the log has lost records: the
    /// mirror may still have them, and keeps them when the log continues with other records at the same positions.
    pub async fn delete_mirror(&self) -> Result<(), NatsError> {
        match self.verify_mirror().await?.presence {
            Presence::LeftOut(_) | Presence::Missing => Ok(()),
            _ => self.delete_existing_mirror().await,
        }
    }

    async fn delete_existing_mirror(&self) -> Result<(), NatsError> {
        let deleted = self.feed().delete_stream(&self.stream).await;
        deleted.map(drop).map_err(|error| self.request_error(error).into())
    }

    /// The account for external subscribers, as the role admin reaches it.
    fn feed(&self) -> jetstream::Context {
        jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT).api_prefix(API).build(self.client.clone())
    }

    /// Why the server has no mirror. `None` if it may have one.
    async fn why_no_mirror(&self) -> Result<Option<&'static str>, NatsError> {
        let subject = format!("{API}.STREAM.INFO.{}", self.stream);
        match self.client.request(subject, "".into()).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(Some(NO_ACCOUNT)),
            Err(error) => match self.request_error(error) {
                ReadError::Refused(reason) if reason.contains(API) => Ok(Some(NO_PERMISSION)),
                error => Err(error.into()),
            },
        }
    }

    async fn log_info(&self) -> Result<Option<Info>, NatsError> {
        match self.context.get_stream(&self.stream).await.map_err(|error| self.not_found(&self.stream, error))
        {
            Ok(log) => Ok(Some(log.cached_info().clone())),
            Err(ReadError::Gone { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The mirror is as large as the log, and is kept on as many servers.
    fn mirror_definition(&self, log: &Info) -> Result<Config, NatsError> {
        let definition: Config = serde_json::from_str(DEFINITION).map_err(|error| NatsError::Stream {
            stream: self.stream.clone(),
            reason: format!("nats/mirror.json: {error}"),
        })?;
        let name = self.stream.clone();
        let mirror = definition.mirror.map(|mirror| Source { name: name.clone(), ..mirror });
        let max_bytes = definition.max_bytes.max(log.config.max_bytes);
        let restored = log.config.metadata.get(RESTORED_MARK).map(String::as_str).unwrap_or_default();
        let mark = format!("{}{restored}", identity(log));
        let metadata = [(LOG_MARK.to_owned(), mark)].into();
        Ok(Config { name, mirror, max_bytes, num_replicas: self.replicas, metadata, ..definition })
    }

    fn left_out(&self, reason: &'static str) -> StreamReport {
        self.named(StreamReport {
            presence: Presence::LeftOut(reason),
            ..StreamReport::missing(&self.stream)
        })
    }

    /// The report under the mirror's own name, because the mirror is called like the log.
    fn named(&self, report: StreamReport) -> StreamReport {
        StreamReport { stream: format!("{} for external subscribers", self.stream), ..report }
    }
}

/// Whether the mirror copies a log that was deleted, replaced or shortened.
fn copies_another_log(mirror: &Info, wanted: &Config, log: &Info) -> bool {
    mirror.config.metadata.get(LOG_MARK) != wanted.metadata.get(LOG_MARK)
        || mirror.state.last_sequence > log.state.last_sequence
}
