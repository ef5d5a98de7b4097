//! Logs the state of sources and pairs once per change rather than once per slot, and sets the readiness
//! check.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    domain::{Body, Failure, GapCause, Pair, Slot, SourceName, Timestamp, Verdict},
    readiness::{Check, Condition},
};

use crate::{metrics::Metrics, source::meaning};

/// The last known state of each source and pair.
pub(super) struct Health {
    check: Check,
    sources: BTreeMap<SourceName, BTreeSet<Failure>>,
    /// For each pair without an agreed price: the reason, and the first slot without one.
    pairs: BTreeMap<Pair, Option<(GapCause, Slot)>>,
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
            "this machine's clock is ahead by {seconds} s, and too few of the sources and NATS servers agree with it; \
             nothing is published until the clock is corrected, or enough of them agree"
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
            let before = self.pairs.get(pair).copied();
            let since = before.flatten().map(|(_, since)| since);
            let now = cause(body).map(|(cause, slot)| (cause, since.unwrap_or(slot)));
            self.pairs.insert(*pair, now);
            if before != Some(now) {
                log_pair(*pair, before.flatten().map(|(cause, _)| cause), body);
            }
        }
        self.check.set(self.condition());
    }

    fn condition(&self) -> Condition {
        let without: Vec<String> = self
            .pairs
            .iter()
            .filter_map(|(pair, gap)| gap.map(|(cause, since)| format!("{pair}: {cause} since {since}")))
            .collect();
        if without.is_empty() {
            return Condition::Ready;
        }
        let failing = self.sources.iter().filter(|(_, failures)| !failures.is_empty());
        let failing: Vec<String> =
            failing.map(|(source, failures)| format!("{source}: {}", joined(failures))).collect();
        let sources = if failing.is_empty() {
            String::new()
        } else {
            format!("; failing sources ({})", failing.join("; "))
        };
        Condition::Degraded(format!("no agreed price ({}){sources}", without.join(", ")))
    }
}

fn log_source(source: SourceName, before: Option<&BTreeSet<Failure>>, now: &BTreeSet<Failure>) {
    if !now.is_empty() {
        tracing::warn!(
            event = "source_failing", %source, reason = joined(now), meaning = meanings(now),
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

fn meanings(failures: &BTreeSet<Failure>) -> String {
    failures.iter().map(|failure| meaning(*failure)).collect::<Vec<_>>().join("; ")
}

fn joined(failures: &BTreeSet<Failure>) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn cause(body: &Body) -> Option<(GapCause, Slot)> {
    if let Body::Gap(gap) = body { Some((gap.cause, gap.slot)) } else { None }
}

#[cfg(test)]
mod tests {
    use common::{
        domain::{Gap, Interval},
        metrics::Prices,
        readiness::Readiness,
    };
    use prometheus::Registry;

    use super::*;

    #[test]
    fn the_reason_says_for_each_pair_since_when_it_has_no_price() {
        let readiness = Readiness::default();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, Prices::new(&registry).unwrap(), &[]).unwrap();
        let mut health = Health::new(readiness.check("sources"));
        let interval: Interval = "10s".parse().unwrap();
        let gap = |pair: &str, time: &str, cause| {
            let slot = interval.slot_at(time.parse().unwrap());
            (
                pair.parse().unwrap(),
                Body::Gap(Gap { from: slot, slot, interval, cause, backfilled: false, evidence: None }),
            )
        };
        let reason = || readiness.report().first().map(|(_, condition)| condition.clone());
        let expected = |reason: &str| Some(Condition::Degraded(format!("no agreed price ({reason})")));

        health.observe(&[gap("BTC-USD", "2026-11-21T00:00:00Z", GapCause::TooFewSources)], &metrics);
        assert_eq!(reason(), expected("BTC-USD: too_few_sources since 2026-11-21T00:00:00.000Z"));
        // The cause may change, but the pair has been without a price since the first slot.
        let later = "2026-11-21T00:00:10Z";
        let bodies =
            [gap("BTC-USD", later, GapCause::Disagreement), gap("ETH-USD", later, GapCause::TooFewSources)];
        health.observe(&bodies, &metrics);
        let both = "BTC-USD: disagreement since 2026-11-21T00:00:00.000Z, ETH-USD: too_few_sources since 2026-11-21T00:00:10.000Z";
        assert_eq!(reason(), expected(both));
    }
}
