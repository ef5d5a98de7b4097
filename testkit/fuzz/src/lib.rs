//! The properties that must hold for arbitrary input. Each fuzz target calls one of these functions.
//!
//! - [`parser`]: an exchange's response, compared with an independent reader in [`oracle`].
//! - [`record`]: the record codec.
//! - [`aggregate`]: the aggregator, with records that the codec accepts.
//!
//! `scripts/fuzz` builds and runs the targets. A function that panics has found a bug.

mod oracle;

use common::{
    domain::{Body, Evidence, Judged, Pair, Price, Quote, Record, Reported, Verdict},
    wire,
};
use oracle::Part;
use poller::{
    aggregate::{aggregate as aggregate_quotes, recompute},
    source::exchanges,
};
use serde_json::Value;

/// Checks that a parser does not panic, and that the body contains every price that the parser returns.
pub fn parser(exchange: &str, body: &[u8]) {
    let exchange = exchanges::named(exchange).expect("a registered exchange");
    let markets = exchange.markets(&oracle::pairs().collect::<Vec<Pair>>());
    let answers = exchange.read(body, &markets);
    if let Ok(text) = std::str::from_utf8(body) {
        // The same bytes as a list of markets.
        let _ = exchange.parse_list(text);
    }

    // The result for a pair does not depend on the other pairs of the request, unless the response is one that can only
    // be about a single pair.
    let first = markets[0].pair;
    let alone = exchange.read(body, &markets[..1]);
    if let (Ok(alone), Ok(among_others)) = (&alone, &answers) {
        assert_eq!(alone[&first], among_others[&first], "{first} alone, and among others");
    }

    for (pair, answer) in alone.into_iter().chain(answers).flatten() {
        assert!(markets.iter().any(|market| market.pair == pair), "{pair} was not requested");
        let Ok(sample) = answer else { continue };
        let body = std::str::from_utf8(body).expect("parsers only accept UTF-8");
        let Reported { last, bid, ask } = sample.reported;
        assert!(last.is_some() || bid.zip(ask).is_some(), "{pair} has no price");
        for (part, price) in [(Part::Last, last), (Part::Bid, bid), (Part::Ask, ask)] {
            let Some(price) = price else { continue };
            assert_in_bounds(price);
            let texts = oracle::prices(exchange.name(), body, pair, part);
            let is_there = texts.iter().any(|text| oracle::is_same(text, &price.to_string()));
            assert!(is_there, "{pair} {part:?} {price} is not in {texts:?}");
        }
    }
}

fn assert_in_bounds(price: Price) {
    let is_exact = price.decimal().scale() <= Price::MAX_QUOTED_DECIMALS;
    assert!(is_exact, "{price} has too many decimal places");
    assert!(Price::new(price.decimal()).is_ok(), "{price} is out of bounds");
}

/// Checks that a decoded record can be encoded, and that decoding and encoding it again changes nothing.
pub fn record(bytes: &[u8]) {
    let record = match wire::decode(bytes) {
        Ok(record) => record,
        Err(reason) => return drop(reason.to_string()),
    };
    let (_, _) = (record.id(), record.covers_up_to());
    assert_written(&record);
    let given = serde_json::from_slice(bytes).expect("a record is JSON");
    let written = serde_json::from_slice(&wire::encode(&record)).expect("a record is JSON");
    assert!(is_contained(&written, &given), "{written} is not contained in {given}");
}

/// Whether everything in `written` is also in `given`, in the same structure. `given` may have unknown
/// members, and may format times and ratios differently.
fn is_contained(written: &Value, given: &Value) -> bool {
    match (written, given) {
        (Value::Object(written), Value::Object(given)) => {
            written.iter().all(|(name, value)| is_contained(value, given.get(name).unwrap_or(&Value::Null)))
        }
        (Value::Array(written), Value::Array(given)) => {
            written.len() == given.len()
                && written.iter().zip(given).all(|(one, other)| is_contained(one, other))
        }
        (Value::String(_), Value::String(_)) => true,
        _ => written == given,
    }
}

/// Checks that any record can be recomputed without a panic. Then aggregates the record's quotes again, and
/// checks that recomputing the result gives the same result.
pub fn aggregate(bytes: &[u8]) {
    let Ok(record) = wire::decode(bytes) else { return };
    if let Err(differences) = recompute::recompute(&record) {
        assert!(!differences.is_empty(), "an error without differences");
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
    // The quotes' times are arbitrary and may be reversed, and their prices may not follow from what the sources
    // reported. Nothing else may be wrong.
    let differences = recompute::recompute(&again).err().unwrap_or_default();
    let is_given = |difference: &_| {
        matches!(difference, recompute::Difference::TimesReversed(_) | recompute::Difference::Quote(_))
    };
    assert!(differences.iter().all(is_given), "{differences:?}");
    assert_written(&again);
}

fn assert_written(record: &Record) {
    let written = wire::encode(record);
    let read = wire::decode(&written).expect("an encoded record can be decoded");
    assert_eq!(&read, record);
    assert_eq!(wire::encode(&read), written);
}

/// Checks that enough prices are used, and that at most half of them are above the price and at most half below.
fn assert_in_the_middle(price: Price, evidence: &Evidence) {
    let used = evidence.quotes.iter().filter(|judged| judged.verdict == Verdict::Used);
    let used: Vec<Price> = used.filter_map(|judged| judged.observation).map(|seen| seen.price).collect();
    assert!(
        !used.is_empty() && used.len() >= evidence.policy.min_sources as usize,
        "{} prices are not enough",
        used.len()
    );
    let half = used.len() / 2;
    assert!(used.iter().filter(|used| **used < price).count() <= half, "{price} is too high");
    assert!(used.iter().filter(|used| **used > price).count() <= half, "{price} is too low");
}

/// The quote as the aggregator received it, without the verdict.
fn quote(judged: &Judged) -> Quote {
    let result = match (judged.observation, judged.verdict) {
        (Some(observation), _) => Ok(observation),
        (None, Verdict::Failed(failure)) => Err(failure),
        (None, verdict) => panic!("verdict {verdict} on a quote without an observation"),
    };
    Quote { source: judged.source, shadow: judged.verdict == Verdict::Shadow, result }
}
