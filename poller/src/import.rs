//! A user's own history of a pair: turns recorded prices into the records before the pair's first live slot.
//!
//! Each file is a source, and the ordinary rules agree on a price of each slot. A source's quote is its newest row since
//! the slot before. Slots without any row become gaps. Like all that is backfilled, this is only possible while the log
//! has no record of the pair.

use std::{path::Path, sync::Arc};

use common::{
    domain::{
        AgeRule, Basis, Body, Failure, Gap, GapCause, Interval, Observation, Origin, Pair, Policy, Price,
        Quote, Reported, Slot, SourceName, Timestamp,
    },
    readiness::Readiness,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Log, Metrics,
    aggregate::aggregate,
    config::{ConfigError, PollerConfig},
    lead::LeaseKeeper,
    publish::{PublishError, Publisher},
    source::replay::{Recording, RecordingError},
};

/// The most slots in one import: more than a year of minutes. Their records are in memory at once.
const MAX_SLOTS: u64 = 600_000;

/// What a user wants to import.
#[derive(Debug)]
pub struct Import {
    pair: Pair,
    interval: Interval,
    policy: Policy,
    sources: Vec<(SourceName, Recording)>,
    now: Timestamp,
}

/// What an import consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// The first slot.
    pub first: Slot,
    /// The last slot.
    pub last: Slot,
    /// Slots with a price.
    pub ticks: u64,
    /// Slots without a price.
    pub gaps: u64,
}

/// Why prices cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file is not valid.
    #[error("{path} cannot be imported")]
    File {
        /// The file.
        path: String,
        /// The reason.
        #[source]
        source: RecordingError,
    },
    /// A file has prices of the future.
    #[error("{path} has a row for {time}, which is in the future")]
    Future {
        /// The file.
        path: String,
        /// The time of its last row.
        time: Timestamp,
    },
    /// Two files have the same source.
    #[error(
        "there are two files of the source {0}; give each file a name of its own, as in NAME:FILE, or join the files"
    )]
    Twice(SourceName),
    /// No slot has a price.
    #[error(
        "no slot gets a price: in every slot, fewer than {0} sources have a row, or their prices are too far apart"
    )]
    NoPrice(u32),
    /// There are too many slots.
    #[error(
        "the files span {0} slots, more than the limit of {MAX_SLOTS}; import a longer history with a longer --interval"
    )]
    TooLong(u64),
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Writing failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Import {
    /// Reads the files. `min_sources` of them must agree on a price.
    pub fn read(
        config: &PollerConfig,
        (pair, interval, min_sources): (Pair, Interval, u32),
        files: &[(SourceName, &Path)],
        now: Timestamp,
    ) -> Result<Self, ImportError> {
        let policy = Policy {
            min_sources,
            max_quote_age: interval.span(),
            aged_at: AgeRule::Slot,
            ..config.policy_of_all()?
        };
        let mut sources: Vec<(SourceName, Recording)> = Vec::new();
        for (name, path) in files {
            let text = path.display().to_string();
            let recording =
                Recording::load(path).map_err(|source| ImportError::File { path: text.clone(), source })?;
            let (_, time) = recording.span();
            if time > now {
                return Err(ImportError::Future { path: text, time });
            }
            if sources.iter().any(|(other, _)| other == name) {
                return Err(ImportError::Twice(*name));
            }
            sources.push((*name, recording));
        }
        Ok(Self { pair, interval, policy, sources, now })
    }

    /// The ticks and gaps, from the first price to the last.
    pub fn bodies(&self) -> Result<Vec<Body>, ImportError> {
        let spans = || self.sources.iter().map(|(_, recording)| recording.span());
        let no_price = || ImportError::NoPrice(self.policy.min_sources);
        let (first, last) = spans()
            .map(|(first, _)| first)
            .min()
            .zip(spans().map(|(_, last)| last).max())
            .ok_or_else(no_price)?;
        let slot_of = |time: Timestamp| self.interval.slot(time).unwrap_or_else(|| self.interval.after(time));
        // The current slot may be polled, so it is not imported.
        let newest = self.interval.before(self.interval.slot_at(self.now));
        let (first, last) = (slot_of(first), slot_of(last).min(newest));
        let slots = last.start().millis_since(first.start()) / self.interval.millis() + 1;
        if slots > MAX_SLOTS {
            return Err(ImportError::TooLong(slots));
        }
        let all = std::iter::successors(Some(first), |slot| Some(self.interval.after(slot.start())));
        let mut bodies: Vec<Body> = Vec::new();
        for slot in all.take_while(|slot| *slot <= last) {
            match (self.agree(slot), bodies.last_mut()) {
                (Some(Body::Gap(_)), None) | (None, None) => {}
                (Some(body), _) => bodies.push(body),
                (None, Some(Body::Gap(gap))) if gap.evidence.is_none() => gap.slot = slot,
                (None, Some(_)) => bodies.push(Body::Gap(self.hole(slot))),
            }
        }
        let end = bodies.iter().rposition(|body| matches!(body, Body::Tick(_))).ok_or_else(no_price)?;
        bodies.truncate(end.saturating_add(1));
        Ok(bodies)
    }

    /// The result of a slot. None if no source has a row of it.
    fn agree(&self, slot: Slot) -> Option<Body> {
        let quote = |(source, recording): &(SourceName, Recording)| {
            let before = self.interval.before(slot).start();
            let row = recording.newest_at(slot.start()).filter(|(time, _)| *time > before);
            Quote {
                source: *source,
                shadow: false,
                result: row.map(|row| self.observation(row)).ok_or(Failure::Missing),
            }
        };
        let quotes: Vec<Quote> = self.sources.iter().map(quote).collect();
        quotes.iter().any(|quote| quote.result.is_ok()).then(|| {
            let mut body = aggregate(&quotes, &self.policy, slot, self.interval);
            match &mut body {
                Body::Tick(tick) => tick.backfilled = true,
                Body::Gap(gap) => gap.backfilled = true,
                Body::Lead(_) => {}
            }
            body
        })
    }

    fn observation(&self, (time, price): (Timestamp, Price)) -> Observation {
        Observation {
            price,
            basis: Basis::Imported,
            reported: Reported::default(),
            observed_at: self.now,
            source_time: Some(time),
            unchanged_since: self.now,
            max_age: None,
        }
    }

    fn hole(&self, slot: Slot) -> Gap {
        let (interval, cause) = (self.interval, GapCause::NotBackfilled);
        Gap { from: slot, slot, interval, cause, backfilled: true, evidence: None }
    }
}

impl Contents {
    /// Counts ticks and gaps. None if there are none.
    pub fn of(bodies: &[Body]) -> Option<Self> {
        let extent = |body: &Body| match body {
            Body::Tick(tick) => Some((tick.slot, tick.slot, tick.interval)),
            Body::Gap(gap) => Some((gap.from, gap.slot, gap.interval)),
            Body::Lead(_) => None,
        };
        let ((first, _, interval), (_, last, _)) = (extent(bodies.first()?)?, extent(bodies.last()?)?);
        let ticks = bodies.iter().filter(|body| matches!(body, Body::Tick(_))).count();
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        let slots = last.start().millis_since(first.start()) / interval.millis() + 1;
        Some(Self { first, last, ticks, gaps: slots.saturating_sub(ticks) })
    }
}

/// Writes an import to the log. Calls `progress` with the slots that are left and their number.
pub async fn write(
    log: Log,
    import: &Import,
    bodies: Vec<Body>,
    metrics: Metrics,
    progress: &mut (dyn FnMut(u32, u32) + Send),
) -> Result<(), ImportError> {
    let (readiness, finished) = (Readiness::default(), CancellationToken::new());
    let patience = log.lease.span() * 2;
    let (keeper, leadership) = LeaseKeeper::new(log.lease, metrics.clone(), readiness.check("lead"));
    let keeping = tokio::spawn(keeper.run(finished.clone()));
    let publisher = Publisher::of_past(
        (import.pair, import.interval, Origin::Live),
        Arc::clone(&log.writer),
        leadership,
        metrics,
        readiness.check("publish"),
    );
    let written = publisher.import(import.pair, bodies, patience, progress).await;
    finished.cancel();
    // The lease is released before the process ends, so that a poller can lead at once.
    let _ = keeping.await;
    Ok(written?)
}

#[cfg(test)]
mod tests;
