//! Logs the state of sources and pairs once per change rather than once per slot, and sets the readiness
//! check.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    domain::{Body, Evidence, Failure, GapCause, Pair, Slot, SourceName, Timestamp, Verdict},
    readiness::{Check, Condition},
};

use crate::{metrics::Metrics, source::meaning};

/// The last known state of each source and pair.
pub(super) struct Health {
    check: Check,
    sources: BTreeMap<SourceName, BTreeSet<Failure>>,
    /// For each pair, why it has no agreed price.
    pairs: BTreeMap<Pair, Option<NoPrice>>,
}

/// Why a pair has no agreed price.
struct NoPrice {
    cause: GapCause,
    /// The first slot without an agreed price.
    since: Slot,
    /// What is wrong with the times of the quotes.
    times: Option<String>,
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
            let known = self.pairs.remove(pair);
            let (is_new, before) = (known.is_none(), known.flatten());
            let mut now = NoPrice::of(body);
            if let (Some(now), Some(before)) = (&mut now, &before) {
                now.since = before.since;
            }
            let cause = |gap: &Option<NoPrice>| gap.as_ref().map(|gap| gap.cause);
            if is_new || cause(&before) != cause(&now) {
                log_pair(*pair, cause(&before), body);
            }
            self.pairs.insert(*pair, now);
        }
        self.check.set(self.condition());
    }

    fn condition(&self) -> Condition {
        let without: Vec<String> = self
            .pairs
            .iter()
            .filter_map(|(pair, gap)| {
                gap.as_ref().map(|NoPrice { cause, since, .. }| format!("{pair}: {cause} since {since}"))
            })
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
        let times: BTreeSet<&str> =
            self.pairs.values().flatten().filter_map(|gap| gap.times.as_deref()).collect();
        let times: String = times.into_iter().map(|times| format!("; {times}")).collect();
        Condition::Degraded(format!("no agreed price ({}){sources}{times}", without.join(", ")))
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
                meaning = gap.evidence.as_ref().and_then(about_times),
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

impl NoPrice {
    fn of(body: &Body) -> Option<Self> {
        let Body::Gap(gap) = body else { return None };
        let times = gap.evidence.as_ref().and_then(about_times);
        Some(Self { cause: gap.cause, since: gap.slot, times })
    }
}

/// Says which quotes were not used because of their times. A wrong clock of this machine is the likely cause if their
/// times are in the future, and a possible one if they are old.
fn about_times(evidence: &Evidence) -> Option<String> {
    let with = |verdict| {
        let quotes = evidence.quotes.iter().filter(|judged| judged.verdict == verdict);
        let sources: Vec<&str> = quotes.map(|judged| judged.source.as_str()).collect();
        (!sources.is_empty()).then(|| sources.join(" and "))
    };
    let future = with(Verdict::Future).map(|sources| {
        format!("the times of {sources} are ahead of this machine's clock: check whether it is wrong")
    });
    let stale = with(Verdict::Stale).map(|sources| {
        format!("the prices of {sources} are too old: nobody trades there, or this machine's clock is ahead")
    });
    let both: Vec<String> = future.into_iter().chain(stale).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

#[cfg(test)]
mod tests {
    use common::{
        domain::{Gap, Interval, Judged},
        metrics::Prices,
        readiness::Readiness,
    };
    use prometheus::Registry;

    use super::{super::tests::rig::policy, *};

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
    #[test]
    fn quotes_from_the_future_point_to_a_wrong_clock() {
        let readiness = Readiness::default();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, Prices::new(&registry).unwrap(), &[]).unwrap();
        let mut health = Health::new(readiness.check("sources"));
        let interval: Interval = "10s".parse().unwrap();
        let slot = interval.slot_at("2026-11-21T00:00:00Z".parse().unwrap());
        let mut reason = |verdicts: [(&str, Verdict); 3]| {
            let quotes = verdicts.map(|(source, verdict)| Judged {
                source: source.parse().unwrap(),
                observation: None,
                verdict,
            });
            let evidence = Evidence { policy: policy(2), quotes: quotes.into() };
            let gap = Gap {
                from: slot,
                slot,
                interval,
                cause: GapCause::TooFewSources,
                backfilled: false,
                evidence: Some(evidence),
            };
            health.observe(&[("BTC-USD".parse().unwrap(), Body::Gap(gap))], &metrics);
            readiness.report().first().map(|(_, condition)| format!("{condition:?}")).unwrap()
        };
        let future =
            reason([("kraken", Verdict::Future), ("gemini", Verdict::Unused), ("bitstamp", Verdict::Future)]);
        assert!(
            future.contains("the times of kraken and bitstamp are ahead of this machine's clock"),
            "{future}"
        );
        let stale =
            reason([("kraken", Verdict::Stale), ("gemini", Verdict::Unused), ("bitstamp", Verdict::Outlier)]);
        assert!(
            stale.contains("the prices of kraken are too old") && !stale.contains("the times"),
            "{stale}"
        );
        let neither = reason([
            ("kraken", Verdict::Outlier),
            ("gemini", Verdict::Unused),
            ("bitstamp", Verdict::Unused),
        ]);
        assert!(!neither.contains("clock"), "{neither}");
    }
}
