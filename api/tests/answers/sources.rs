//! Statistics of the sources, compared with a naive computation over the records from `/v1/ticks/{sequence}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{
    domain::{Body, Evidence, Failure, Judged, Observation, Record, Timestamp, Verdict},
    wire,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use testkit::records;

use crate::rig::{Rig, at, gap, gap_of, lead, tick_record};

const SOURCES: &str = "/v1/sources";

const HOUR: i64 = 3_600;

fn rig(keep: i64) -> Rig {
    let length = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    Rig::keeping_quotes(length(keep), length(keep + HOUR))
}

fn judged(source: &str, price: Option<&str>, verdict: Verdict) -> Judged {
    let observation = price.map(|price| Observation::traded(price.parse().unwrap(), at(0)));
    Judged { source: source.parse().unwrap(), observation, verdict }
}

/// The bytes of a tick with these quotes.
fn tick_of(pair: &str, seconds: i64, price: &str, quotes: Vec<Judged>) -> Vec<u8> {
    let record = tick_record(pair, seconds, price);
    let Body::Tick(mut tick) = record.body else { unreachable!() };
    tick.evidence = Evidence { quotes, ..tick.evidence };
    wire::encode(&Record { body: Body::Tick(tick), ..record })
}

#[tokio::test]
async fn a_source_has_statistics_per_pair_and_in_total() {
    let mut rig = rig(HOUR);
    assert_eq!(rig.get(SOURCES).await.body["code"], json!("no_price_yet"));
    let (used, timeout) = (Verdict::Used, Verdict::Failed(Failure::Timeout));
    rig.send(vec![
        lead("BTC-USD"),
        gap("BTC-USD", 0, 0),
        tick_of(
            "BTC-USD",
            10,
            "100",
            vec![judged("kraken", Some("100"), used), judged("gemini", Some("50.0"), Verdict::Outlier)],
        ),
        tick_of("ETH-USD", 10, "8.0", vec![judged("kraken", Some("8.001"), used)]),
        tick_of(
            "BTC-USD",
            20,
            "100",
            vec![judged("kraken", Some("99.99999999"), used), judged("gemini", None, timeout)],
        ),
        gap_of("ETH-USD", 20, 20, common::domain::GapCause::TooFewSources, Some(1)),
        tick_of("BTC-USD", 30, "1", vec![judged("kraken", None, timeout)]),
    ])
    .await;
    let pair = |pair: &str,
                slots: u64,
                share: &str,
                slot: i64,
                verdict: &str,
                deviation: Option<&str>,
                verdicts: Value| {
        json!({"pair": pair, "slots": slots, "share_used": share, "last_slot": at(slot).to_string(), "last_verdict": verdict,
               "deviation": deviation, "verdicts": verdicts})
    };
    let source =
        |name: &str, slots: u64, share: &str, slot: i64, verdict: &str, verdicts: Value, pairs: Value| {
            json!({"source": name, "slots": slots, "share_used": share, "last_slot": at(slot).to_string(),
               "last_verdict": verdict, "verdicts": verdicts, "pairs": pairs})
        };
    let expected = json!({
        "from": at(30 - HOUR).to_string(), "to": at(30).to_string(),
        "items": [
            source("gemini", 2, "0.00000000", 20, "timeout", json!({"outlier": 1, "timeout": 1}), json!([
                pair("BTC-USD", 2, "0.00000000", 20, "timeout", Some("-0.500000000000"), json!({"outlier": 1, "timeout": 1})),
            ])),
            source("kraken", 4, "0.750000000000", 30, "timeout", json!({"used": 3, "timeout": 1}), json!([
                pair("BTC-USD", 3, "0.666666666667", 30, "timeout", Some("-0.000000000100000000000"), json!({"used": 2, "timeout": 1})),
                pair("ETH-USD", 1, "1.00000000000", 10, "used", Some("0.000125000000000"), json!({"used": 1})),
            ])),
            source("source_0", 1, "0.00000000", 20, "timeout", json!({"timeout": 1}), json!([
                pair("ETH-USD", 1, "0.00000000", 20, "timeout", None, json!({"timeout": 1})),
            ])),
        ],
    });
    assert_eq!(rig.get(SOURCES).await.body, expected);
}

const PAIRS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// One record of each pair for a slot: usually a tick, sometimes a gap with or without quotes.
fn records_of(random: &mut StdRng, second: i64) -> Vec<Vec<u8>> {
    let verdicts = [
        Verdict::Used,
        Verdict::Used,
        Verdict::Used,
        Verdict::Outlier,
        Verdict::Stale,
        Verdict::Failed(Failure::Http429),
        Verdict::Failed(Failure::BackingOff),
    ];
    let mut record = |pair| match random.random_range(0..20) {
        0 => gap(pair, second, second),
        1 => gap_of(pair, second, second, common::domain::GapCause::TooFewSources, Some(3)),
        _ => {
            let price = 1_000 + random.random_range(0..1_000);
            let mut quotes = Vec::new();
            for source in ["bitstamp", "coinbase", "gemini", "kraken"] {
                let verdict = verdicts[random.random_range(0..verdicts.len())];
                let quote =
                    format!("{}.{}", price + random.random_range(-9..=9), random.random_range(0..100));
                let quote = (!matches!(verdict, Verdict::Failed(_))).then_some(quote.as_str());
                if random.random_range(0..8) > 0 {
                    quotes.push(judged(source, quote, verdict));
                }
            }
            tick_of(pair, second, &price.to_string(), quotes)
        }
    };
    PAIRS.into_iter().map(&mut record).collect()
}

/// The expected response, computed from all records.
fn naive(records: &[records::Record], least_from: i64) -> Value {
    let slots = records.iter().filter_map(|record| Some((record, record.covers()?.1)));
    let to = slots.clone().map(|(_, slot)| slot).max().unwrap();
    let from = (to - HOUR * 1_000).max(least_from);
    let asked: Vec<(&records::Record, i64, &records::Quote)> = slots
        .filter(|(_, slot)| *slot > from)
        .flat_map(|(record, slot)| record.quotes.iter().flatten().map(move |quote| (record, slot, quote)))
        .collect();
    let time = |millis: i64| json!(Timestamp::from_unix_millis(millis).unwrap().to_string());
    let described = |of: &dyn Fn(&records::Record, &records::Quote) -> bool, pair: Option<&str>| {
        let mine: Vec<_> = asked.iter().filter(|(record, _, quote)| of(record, quote)).collect();
        let (_, slot, last) = mine.last()?;
        let mut verdicts: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, _, quote) in &mine {
            *verdicts.entry(&quote.verdict).or_default() += 1;
        }
        let used = verdicts.get("used").copied().unwrap_or(0);
        let share = testkit::naive::derived(Decimal::from(used) / Decimal::from(mine.len()));
        let mut item = json!({"slots": mine.len(), "share_used": share, "last_slot": time(*slot), "last_verdict": last.verdict,
                              "verdicts": verdicts});
        if let Some(pair) = pair {
            let deviation = mine.iter().rev().find_map(|(record, _, quote)| {
                let [quote, price] = [quote.price.as_ref()?, record.price.as_ref()?]
                    .map(|text| text.parse::<Decimal>().unwrap());
                Some(testkit::naive::derived((quote - price) / price))
            });
            (item["pair"], item["deviation"]) = (json!(pair), json!(deviation));
        }
        Some(item)
    };
    let names: BTreeSet<&str> = asked.iter().map(|(_, _, quote)| quote.source.as_str()).collect();
    let pairs: BTreeSet<&str> = asked.iter().map(|(record, ..)| record.pair.as_str()).collect();
    let source = |name: &&str| {
        let mut item = described(&|_, quote| quote.source == *name, None).unwrap();
        let of_pair = |pair: &&str| {
            described(&|record, quote| quote.source == *name && record.pair == *pair, Some(pair))
        };
        (item["source"], item["pairs"]) = (json!(name), pairs.iter().filter_map(of_pair).collect());
        item
    };
    json!({"from": time(from), "to": time(to), "items": names.iter().map(source).collect::<Vec<_>>()})
}

async fn explained(rig: &Rig, sequence: u64) -> records::Record {
    let answer = rig.get(&format!("/v1/ticks/{sequence}")).await;
    records::Record::read(answer.text.as_bytes()).unwrap()
}

#[tokio::test]
async fn the_last_hour_equals_a_naive_computation_over_its_records() {
    let mut random = StdRng::seed_from_u64(7);
    let [mut much, mut little] = [HOUR, 10].map(rig);
    let mut explained_records = Vec::new();
    let (mut waiting, mut second) = (Vec::new(), 0);
    for round in 0..40 {
        let size = random.random_range(1..70);
        while waiting.len() < size {
            second += 10;
            waiting.extend(records_of(&mut random, second));
            if random.random_range(0..30) == 0 {
                waiting.push(lead(PAIRS[0]));
            }
        }
        let batch: Vec<Vec<u8>> = waiting.drain(..size).collect();
        much.send(batch.clone()).await;
        little.send(batch).await;
        if round % 13 == 12 {
            little = little.restarted().await;
        }
        let first = explained_records.len() as u64 + 1;
        for sequence in first..first + size as u64 {
            explained_records.push(explained(&much, sequence).await);
        }
        let answer = much.get(SOURCES).await;
        assert_eq!(
            answer.body,
            naive(&explained_records, 0),
            "round {round}, {} records",
            explained_records.len()
        );
        assert_eq!(little.get(SOURCES).await.text, answer.text, "round {round}");
        let earlier = explained_records.len() - random.random_range(0..explained_records.len().min(300));
        let pinned = much.get(&format!("{SOURCES}?at_sequence={earlier}")).await;
        if pinned.status == 200 {
            assert_eq!(pinned.body, naive(&explained_records[..earlier], 0), "at {earlier}");
        }
    }
    assert!(second > HOUR * 3 / 2, "{second}: the log must be longer than an hour");
}

#[tokio::test]
async fn an_hour_with_too_many_records_is_shortened() {
    let mut rig = rig(HOUR);
    let (pairs, slots) = (100, 110);
    let mut records = Vec::new();
    for slot in 1..=slots {
        for pair in 0..pairs {
            records.push((
                slot * 10,
                tick_of(
                    &format!("A{pair}-USD"),
                    slot * 10,
                    "1",
                    vec![judged("kraken", Some("1"), Verdict::Used)],
                ),
            ));
        }
    }
    // One pair is always one slot ahead.
    let (ahead, others): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|(_, bytes)| wire::decode(bytes).unwrap().pair.base() == "A7");
    let mut records: Vec<_> =
        ahead.into_iter().map(|(slot, bytes)| (slot - 15, bytes)).chain(others).collect();
    records.sort_by_key(|(slot, _)| *slot);
    for batch in records.chunks(1_000) {
        rig.send(batch.iter().map(|(_, bytes)| bytes.clone()).collect()).await;
    }
    let total = records.len();
    assert_eq!(total, 11_000);
    let body = rig.get(SOURCES).await.body;
    // The newest 10,000 records include slot 11 of all pairs except the one that is ahead, whose record of slot 11 is
    // just before them. So the response does not include slot 11 of any pair.
    assert_eq!((&body["from"], &body["to"]), (&json!(at(110).to_string()), &json!(at(1_100).to_string())));
    assert_eq!(body["items"][0]["slots"], json!(99 * 100));
}
