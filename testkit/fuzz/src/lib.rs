//! What must hold whatever comes from outside; each target is one of these functions.
//!
//! - [`parser`]: an exchange's answer, against a second reading of it in [`said`].
//! - [`record`]: the codec.
//! - [`aggregate`]: the aggregator, on whatever the codec lets through.
//!
//! `scripts/fuzz` builds and runs them. A function that returns has found nothing; one that panics has.

mod said;

use common::{
    domain::{Body, Evidence, Judged, Pair, Price, Quote, Record, Verdict},
    wire,
};
use poller::{
    aggregate::{aggregate as aggregate_quotes, recompute},
    source::Exchange,
};
use serde_json::Value;

/// A parser never panics, and what it says stands in the body.
pub fn parser(exchange: Exchange, body: &[u8]) {
    let pairs: Vec<Pair> = said::pairs().filter(|pair| exchange.serves(*pair)).collect();
    let answers = exchange.parse(body, &pairs);
    let _ = exchange.throttled_until(body);
    if exchange.complaint(body).is_some() {
        assert!(answers.is_err(), "a complaint came with answers");
    }

    // What is said about a pair does not depend on which others are asked for.
    let alone = exchange.parse(body, &pairs[..1]);
    let among_others = answers.clone().map(|mut answers| {
        answers.retain(|pair, _| *pair == pairs[0]);
        answers
    });
    assert_eq!(alone, among_others, "{} alone, and among others", pairs[0]);

    for (pair, answer) in answers.into_iter().flatten() {
        assert!(pairs.contains(&pair), "{pair} was not asked for");
        let Ok(sample) = answer else { continue };
        assert!(
            sample.price.decimal().scale() <= Price::MAX_QUOTED_DECIMALS,
            "{} has too many places",
            sample.price
        );
        assert!(Price::new(sample.price.decimal()).is_ok(), "{} is out of bounds", sample.price);
        let body = std::str::from_utf8(body).expect("an answer that was read is text");
        let said = said::prices(exchange, body, pair);
        let price = sample.price.to_string();
        assert!(said.iter().any(|said| said::is_same(said, &price)), "{pair} {price} is none of {said:?}");
    }
}

/// What is read as a record is written as one, and once it is written its bytes stay the same.
pub fn record(bytes: &[u8]) {
    let record = match wire::decode(bytes) {
        Ok(record) => record,
        Err(reason) => return drop(reason.to_string()),
    };
    let (_, _) = (record.id(), record.covers_up_to());
    assert_written(&record);
    let given = serde_json::from_slice(bytes).expect("a record is JSON");
    let written = serde_json::from_slice(&wire::encode(&record)).expect("a record is JSON");
    assert!(stands_in(&written, &given), "{written} does not stand in {given}");
}

/// Whether all that was written had been there, in the same shape: members that nobody knows may be missing,
/// and times and ratios may be spelled in another way.
fn stands_in(written: &Value, given: &Value) -> bool {
    match (written, given) {
        (Value::Object(written), Value::Object(given)) => {
            written.iter().all(|(name, value)| stands_in(value, given.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(written), Value::Array(given)) => {
            written.len() == given.len()
                && written.iter().zip(given).all(|(one, other)| stands_in(one, other))
        }
        (Value::String(_), Value::String(_)) => true,
        _ => written == given,
    }
}

/// Any record can be recomputed, and what the aggregator makes of its quotes agrees with itself.
pub fn aggregate(bytes: &[u8]) {
    let Ok(record) = wire::decode(bytes) else { return };
    if let Err(differences) = recompute::recompute(&record) {
        assert!(!differences.is_empty(), "it differs in nothing");
        differences.iter().for_each(|difference| drop(difference.to_string()));
    }

    let (evidence, slot, interval) = match &record.body {
        Body::Tick(tick) => (&tick.evidence, tick.slot, tick.interval),
        Body::Gap(gap) => match &gap.evidence {
            Some(evidence) => (evidence, gap.slot, gap.interval),
            None => return,
        },
        Body::Lead(_) => return,
    };
    let quotes: Vec<Quote> = evidence.quotes.iter().map(quote).collect();
    let body = aggregate_quotes(&quotes, &evidence.policy, slot, interval);
    if let Body::Tick(tick) = &body {
        assert_in_the_middle(tick.price, &tick.evidence);
    }
    let again = Record { body, ..record };
    // The times of the quotes were made up: they may run backwards, and nothing else may be wrong.
    let differences = recompute::recompute(&again).err().unwrap_or_default();
    let is_given = |difference: &_| matches!(difference, recompute::Difference::TimesReversed(_));
    assert!(differences.iter().all(is_given), "{differences:?}");
    assert_written(&again);
}

fn assert_written(record: &Record) {
    let written = wire::encode(record);
    let read = wire::decode(&written).expect("what was written is read");
    assert_eq!(&read, record);
    assert_eq!(wire::encode(&read), written);
}

/// As many of the prices that were used lie above the price as below it, and they are enough.
fn assert_in_the_middle(price: Price, evidence: &Evidence) {
    let used = evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used);
    let used: Vec<Price> = used.filter_map(|judged| judged.observation).map(|seen| seen.price).collect();
    assert!(
        !used.is_empty() && used.len() >= evidence.policy.min_sources as usize,
        "{} are not enough",
        used.len()
    );
    let half = used.len() / 2;
    assert!(used.iter().filter(|used| **used < price).count() <= half, "{price} is too high");
    assert!(used.iter().filter(|used| **used > price).count() <= half, "{price} is too low");
}

/// What the aggregator was given.
fn quote(judged: &Judged) -> Quote {
    let answer = match (judged.observation, judged.verdict) {
        (Some(observation), _) => Ok(observation),
        (None, Verdict::Failed(failure)) => Err(failure),
        (None, verdict) => panic!("`{verdict}` on a quote that is not there"),
    };
    Quote { source: judged.source, shadow: judged.verdict == Verdict::Shadow, answer }
}
