//! Logs the state of sources and pairs once per change rather than once per slot, and sets the readiness
//! check.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    domain::{Body, Failure, GapCause, Pair, SourceName, Timestamp, Verdict},
    readiness::{Check, Condition},
};

use crate::metrics::Metrics;

/// The last known state of each source and pair.
pub(super) struct Health {
    check: Check,
    sources: BTreeMap<SourceName, BTreeSet<Failure>>,
    pairs: BTreeMap<Pair, Option<GapCause>>,
}

impl Health {
    pub(super) fn new(check: Check) -> Self {
        Self { check, sources: BTreeMap::new(), pairs: BTreeMap::new() }
    }

    /// Forgets all states, because a standby asks no sources.
    pub(super) fn stand_by(&mut self, metrics: &Metrics) {
        self.sources.keys().for_each(|source| metrics.sources.resting(*source, false));
        metrics.sources.stand_by();
        self.sources.clear();
        self.pairs.clear();
        self.check.set(Condition::Ready);
    }

    /// Reports that the clock was set back. Slots never go back, so no slot is due until the clock has caught
    /// up.
    pub(super) fn clock_is_behind(&self, due: Timestamp) {
        self.check.set(Condition::Degraded(format!(
            "this machine's clock was set back; polling resumes when the clock reaches {due}"
        )));
    }

    /// Reports that the clock jumped ahead. Nothing is published, because a record in a wrong slot cannot be
    /// undone.
    pub(super) fn clock_is_ahead(&self, ahead: Duration) {
        let seconds = ahead.as_secs();
        self.check.set(Condition::Degraded(format!(
            "this machine's clock jumped ahead by {seconds} s, but the sources' timestamps did not; \
             nothing is published until the clock and the timestamps agree"
        )));
    }

    /// Records the result of a slot: updates the metrics and the readiness check, and logs changes.
    pub(super) fn observe(&mut self, bodies: &[(Pair, Body)], metrics: &Metrics) {
        let judged =
            bodies.iter().filter_map(|(_, body)| body.evidence()).flat_map(|evidence| &evidence.quotes);
        let mut failures: BTreeMap<SourceName, BTreeSet<Failure>> = BTreeMap::new();
        for judged in judged {
            // Each source reports itself which pairs it is not asked for.
            if matches!(judged.verdict, Verdict::Failed(Failure::Unlisted | Failure::Halted)) {
                continue;
            }
            let failed = failures.entry(judged.source).or_default();
            if let Verdict::Failed(failure) = judged.verdict {
                failed.insert(failure);
            }
        }
        for (source, now) in failures {
            // A source that is resting (not asked for a while) keeps its last known state. Otherwise every attempt to
            // ask it again would be logged.
            let rests = now.contains(&Failure::BackingOff);
            metrics.sources.resting(source, rests);
            if rests && self.sources.contains_key(&source) {
                continue;
            }
            let before = self.sources.insert(source, now.clone());
            if before.as_ref() != Some(&now) {
                log_source(source, before.as_ref(), &now);
            }
        }
        for (pair, body) in bodies {
            let now = cause(body);
            let before = self.pairs.insert(*pair, now);
            if before != Some(now) {
                log_pair(*pair, before.flatten(), body);
            }
        }
        self.check.set(self.condition());
    }

    fn condition(&self) -> Condition {
        let without: Vec<String> = self
            .pairs
            .iter()
            .filter_map(|(pair, cause)| cause.map(|cause| format!("{pair}: {cause}")))
            .collect();
        if without.is_empty() {
            Condition::Ready
        } else {
            Condition::Degraded(format!("no agreed price ({})", without.join(", ")))
        }
    }
}

fn log_source(source: SourceName, before: Option<&BTreeSet<Failure>>, now: &BTreeSet<Failure>) {
    if !now.is_empty() {
        let reasons = now.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            event = "source_failing", %source, reason = reasons,
            "the source returned no quote for at least one pair"
        );
    } else if before.is_some() {
        tracing::info!(
            event = "source_recovered", %source,
            "the source returns quotes for all pairs that it is asked for again"
        );
    } else {
        tracing::info!(event = "source_working", %source, "the source returns quotes for all pairs that it is asked for");
    }
}

fn log_pair(pair: Pair, before: Option<GapCause>, body: &Body) {
    match body {
        Body::Tick(tick) if before.is_some() => {
            let price = tick.price;
            tracing::info!(event = "price_agreed_again", %pair, %price, "the sources agree on a price again");
        }
        Body::Tick(tick) => {
            let price = tick.price;
            tracing::info!(event = "price_agreed", %pair, %price, "the sources agree on a price");
        }
        Body::Gap(gap) => {
            let verdicts = gap.evidence.iter().flat_map(|evidence| &evidence.quotes);
            let verdicts: Vec<String> =
                verdicts.map(|judged| format!("{} {}", judged.source, judged.verdict)).collect();
            tracing::warn!(
                event = "no_price",
                %pair,
                cause = %gap.cause,
                quotes = verdicts.join(", "),
                "no agreed price, so a gap is recorded; trying again in every slot"
            );
        }
        Body::Lead(_) => {}
    }
}

fn cause(body: &Body) -> Option<GapCause> {
    if let Body::Gap(gap) = body { Some(gap.cause) } else { None }
}
