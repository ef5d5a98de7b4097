//! The line that is printed about one record, and the summary of all records.

use std::fmt;

use common::domain::{Body, Gap, Record, Tick, Verdict};
use poller::aggregate::recompute::{Difference, Outcome};

use super::found::Found;

/// The numbers of records by result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    ticks: u64,
    gaps: u64,
    without_quotes: u64,
    /// The number of records that were computed by rules which this version does not know.
    other_rules: u64,
    expired: u64,
    absent: u64,
    /// The number of ticks and gaps that differ from what their quotes give.
    pub(super) differing: u64,
}

impl Tally {
    /// Counts a record.
    pub(super) fn count(&mut self, record: &Record, result: &Result<Outcome, Vec<Difference>>) {
        match (result, &record.body) {
            (Ok(Outcome::NothingToRecompute), _) | (_, Body::Lead(_)) => self.without_quotes += 1,
            (Ok(Outcome::OtherRules(_)), _) => self.other_rules += 1,
            (_, Body::Tick(_)) => self.ticks += 1,
            (_, Body::Gap(_)) => self.gaps += 1,
        }
        self.differing += u64::from(result.is_err());
    }

    /// Counts a position if it has no complete record.
    pub(super) fn count_others(&mut self, found: &Found) {
        match found {
            Found::Record(_) => {}
            Found::Expired(_) => self.expired += 1,
            Found::Absent(_) => self.absent += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            (self.ticks, "ticks"),
            (self.gaps, "gaps with quotes"),
            (self.without_quotes, "without quotes: leads, and gaps for which no source was asked"),
            (self.other_rules, "not recomputed: from a version with other rules"),
            (self.expired, "expired: quotes older than store.retain_quotes"),
            (self.absent, "skipped: positions without a record"),
            (self.differing, "differing"),
        ];
        lines.iter().try_for_each(|(count, what)| writeln!(formatter, "{count:>9}  {what}"))
    }
}

/// A record, and whether it agrees with its quotes.
pub(super) fn line(record: &Record, result: &Result<Outcome, Vec<Difference>>) -> String {
    let result = match result {
        Ok(Outcome::Agrees) => "agrees".to_owned(),
        Ok(Outcome::NothingToRecompute) => "no quotes, nothing to recompute".to_owned(),
        Ok(Outcome::OtherRules(rules)) => {
            format!("not recomputed: a version with other rules (number {rules}) wrote it")
        }
        Err(differences) => {
            let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
            format!("differs: {}", differences.join("; "))
        }
    };
    format!("{}: {result}", headline(record))
}

/// The error about records that differ.
pub(super) fn differing(which: &str) -> String {
    format!(
        "{which}: the recorded result does not follow from the recorded quotes; the record was changed after it was \
         computed"
    )
}

fn headline(record: &Record) -> String {
    let pair = record.pair;
    match &record.body {
        Body::Tick(Tick { slot, price, evidence, .. }) => {
            let used = evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used).count();
            format!("tick {pair} {slot}: {price} from {used} of {} quotes", evidence.quotes.len())
        }
        Body::Gap(Gap { slot, cause, evidence: Some(evidence), .. }) => {
            format!("gap {pair} {slot}: {cause}, {} sources asked", evidence.quotes.len())
        }
        Body::Gap(Gap { from, slot, cause, evidence: None, .. }) if from == slot => {
            format!("gap {pair} {slot}: {cause}, no source asked")
        }
        Body::Gap(Gap { from, slot, cause, evidence: None, .. }) => {
            format!("gap {pair} {from} to {slot}: {cause}, no source asked")
        }
        Body::Lead(_) => format!("lead {pair}: epoch {}", record.epoch),
    }
}

#[cfg(test)]
mod tests {
    use common::wire;
    use poller::aggregate::recompute::recompute;

    use super::*;

    const TICK: &str = r#"{"version":2,"kind":"tick","pair":"BTC-USD","slot":"2026-11-21T00:00:10.000Z",
        "interval":"10s","epoch":42,"origin":"live","price":"97012.34","spread":"0",
        "policy":{"rules":1,"price":"mid","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"},
        "quotes":[{"source":"kraken","price":"97012.34","basis":"last","last":"97012.34","observed_at":"2026-11-21T00:00:10.214Z","source_time":null,
                   "unchanged_since":"2026-11-21T00:00:00.198Z","verdict":"used"},
                  {"source":"gemini","verdict":"http_429"}]}"#;

    const LEAD: &str =
        r#"{"version":2,"kind":"lead","pair":"BTC-USD","covered":null,"epoch":42,"origin":"live"}"#;

    const GAP: &str = r#"{"version":2,"kind":"gap","pair":"BTC-USD","slot":"2026-11-21T00:00:40.000Z",
        "from":"2026-11-21T00:00:20.000Z","cause":"no_leader","interval":"10s","epoch":43,"origin":"live"}"#;

    fn line_of(text: &str) -> String {
        let record = wire::decode(text.as_bytes()).unwrap();
        line(&record, &recompute(&record))
    }

    #[test]
    fn every_kind_of_record_has_a_line() {
        let at = "tick BTC-USD 2026-11-21T00:00:10.000Z";
        assert_eq!(line_of(TICK), format!("{at}: 97012.34 from 1 of 2 quotes: agrees"));
        let changed = TICK.replacen("97012.34", "97012.35", 1);
        assert_eq!(
            line_of(&changed),
            format!(
                "{at}: 97012.35 from 1 of 2 quotes: differs: price recorded 97012.35, recomputed 97012.34"
            )
        );
        let other = TICK.replace(r#""rules":1"#, r#""rules":7"#);
        assert_eq!(
            line_of(&other),
            format!(
                "{at}: 97012.34 from 1 of 2 quotes: not recomputed: a version with other rules (number 7) wrote it"
            )
        );
        assert_eq!(line_of(LEAD), "lead BTC-USD: epoch 42: no quotes, nothing to recompute");
        assert_eq!(
            line_of(GAP),
            "gap BTC-USD 2026-11-21T00:00:20.000Z to 2026-11-21T00:00:40.000Z: no_leader, no source asked: \
             no quotes, nothing to recompute"
        );
    }

    #[test]
    fn every_position_is_counted_once() {
        let mut tally = Tally::default();
        let (changed, other) =
            (TICK.replacen("97012.34", "97012.35", 1), TICK.replace(r#""rules":1"#, r#""rules":7"#));
        for text in [TICK, &changed, &other, LEAD, GAP] {
            let record = wire::decode(text.as_bytes()).unwrap();
            tally.count(&record, &recompute(&record));
        }
        tally.count_others(&Found::Expired(String::new()));
        tally.count_others(&Found::Absent(String::new()));
        let expected = Tally {
            ticks: 2,
            gaps: 0,
            without_quotes: 2,
            other_rules: 1,
            expired: 1,
            absent: 1,
            differing: 1,
        };
        assert_eq!(tally, expected);
        assert!(tally.to_string().contains("        1  differing\n"), "{tally}");
    }
}
