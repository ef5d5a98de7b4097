//! How the sources are, told once per change and not once per slot.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    domain::{Body, Failure, GapCause, Pair, SourceName, Timestamp, Verdict},
    readiness::{Check, Condition},
};

use crate::metrics::Metrics;

/// What was last said about each source and pair.
pub(super) struct Health {
    check: Check,
    sources: BTreeMap<SourceName, BTreeSet<Failure>>,
    pairs: BTreeMap<Pair, Option<GapCause>>,
}

impl Health {
    pub(super) fn new(check: Check) -> Self {
        Self { check, sources: BTreeMap::new(), pairs: BTreeMap::new() }
    }

    /// Nobody is asked while another poller leads.
    pub(super) fn stand_by(&mut self, metrics: &Metrics) {
        self.sources.keys().for_each(|source| metrics.resting(*source, false));
        self.sources.clear();
        self.pairs.clear();
        self.check.set(Condition::Ready);
    }

    /// Slots never go back: where the clock does, none is due until it has caught up.
    pub(super) fn clock_is_behind(&self, due: Timestamp) {
        self.check.set(Condition::Degraded(format!("the clock was set back; the next slot is due at {due}")));
    }

    /// What this clock says is not written down: a slot that was named wrongly stays so.
    pub(super) fn clock_is_ahead(&self, ahead: Duration) {
        let seconds = ahead.as_secs();
        self.check.set(Condition::Degraded(format!(
            "the clock leapt ahead by {seconds} s and no source's time bears it out; nothing is published until one does"
        )));
    }

    /// Takes in one slot's outcome: counts it, logs what changed, and keeps the readiness check.
    pub(super) fn observe(&mut self, bodies: &[(Pair, Body)], metrics: &Metrics) {
        let judged =
            bodies.iter().filter_map(|(_, body)| body.evidence()).flat_map(|evidence| &evidence.quotes);
        let mut failures: BTreeMap<SourceName, BTreeSet<Failure>> = BTreeMap::new();
        for judged in judged {
            metrics.judged(judged);
            let failed = failures.entry(judged.source).or_default();
            if let Verdict::Failed(failure) = judged.verdict {
                failed.insert(failure);
            }
        }
        for (source, now) in failures {
            // A source that rests is as it was when it was asked last; telling each rest would be a line
            // every time it is tried again.
            let rests = now.contains(&Failure::BackingOff);
            metrics.resting(source, rests);
            if rests && self.sources.contains_key(&source) {
                continue;
            }
            let before = self.sources.insert(source, now.clone());
            if before.as_ref() != Some(&now) {
                tell_source(source, before.as_ref(), &now);
            }
        }
        for (pair, body) in bodies {
            let now = cause(body);
            let before = self.pairs.insert(*pair, now);
            if before != Some(now) {
                tell_pair(*pair, before.flatten(), body);
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
            Condition::Degraded(format!("no price is agreed ({})", without.join(", ")))
        }
    }
}

fn tell_source(source: SourceName, before: Option<&BTreeSet<Failure>>, now: &BTreeSet<Failure>) {
    if !now.is_empty() {
        let reasons = now.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(%source, reason = reasons, "the source gives no quote");
    } else if before.is_some() {
        tracing::info!(%source, "the source is back");
    } else {
        tracing::info!(%source, "the source answers");
    }
}

fn tell_pair(pair: Pair, before: Option<GapCause>, body: &Body) {
    match body {
        Body::Tick(tick) if before.is_some() => {
            tracing::info!(%pair, price = %tick.price, "a price is agreed again");
        }
        Body::Tick(tick) => tracing::info!(%pair, price = %tick.price, "a price is agreed"),
        Body::Gap(gap) => {
            let verdicts = gap.evidence.iter().flat_map(|evidence| &evidence.quotes);
            let verdicts: Vec<String> =
                verdicts.map(|judged| format!("{} {}", judged.source, judged.verdict)).collect();
            tracing::warn!(
                %pair,
                cause = %gap.cause,
                quotes = verdicts.join(", "),
                "no price is agreed; trying again every slot"
            );
        }
        Body::Lead(_) => {}
    }
}

fn cause(body: &Body) -> Option<GapCause> {
    if let Body::Gap(gap) = body { Some(gap.cause) } else { None }
}
