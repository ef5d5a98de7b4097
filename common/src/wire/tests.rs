//! Tests encoding and decoding with generated records, and checks that `docs/asyncapi.yaml` describes the same format.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    AgeRule, Basis, Body, Epoch, Evidence, Failure, Gap, GapCause, Interval, Judged, Lead, LeaderId,
    Observation, Origin, Policy, Price, PriceRule, Ratio, Reported, Span, Tick, Timestamp, Verdict, Words,
};

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (0..Timestamp::MAX.unix_millis()).prop_map(|millis| Timestamp::from_unix_millis(millis).unwrap())
}

fn intervals() -> impl Strategy<Value = Interval> {
    (100_u64..86_400_000).prop_map(|millis| Interval::new(Span::from_millis(millis).unwrap()).unwrap())
}

fn prices() -> impl Strategy<Value = Price> {
    (1_u64..u64::MAX, 0_u32..=14).prop_filter_map("a representable price", |(mantissa, scale)| {
        let value = rust_decimal::Decimal::try_from_i128_with_scale(mantissa.into(), scale).ok()?;
        Price::new(value).ok()
    })
}

fn ratios() -> impl Strategy<Value = Ratio> {
    (prices(), prices()).prop_map(|(one, other)| Ratio::distance(one, other, other))
}

fn judged() -> impl Strategy<Value = Judged> {
    let some_price = || proptest::option::of(prices());
    let reported =
        (some_price(), some_price(), some_price()).prop_map(|(last, bid, ask)| Reported { last, bid, ask });
    let observation = (
        (prices(), proptest::sample::select(Basis::ALL), reported),
        timestamps(),
        proptest::option::of(timestamps()),
        timestamps(),
        proptest::option::of((1_u16..).prop_map(Span::from_seconds)),
    )
        .prop_map(|((price, basis, reported), observed_at, source_time, unchanged_since, max_age)| {
            Observation { price, basis, reported, observed_at, source_time, unchanged_since, max_age }
        });
    let on_quote = (observation, proptest::sample::select(Verdict::ON_QUOTES.to_vec()))
        .prop_map(|(observation, verdict)| (Some(observation), verdict));
    let failed = proptest::sample::select(Failure::ALL).prop_map(|failure| (None, Verdict::Failed(failure)));
    ("[a-z][a-z0-9_]{0,23}", prop_oneof![on_quote, failed]).prop_map(|(source, (observation, verdict))| {
        Judged { source: source.parse().unwrap(), observation, verdict }
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let spans = || (1_u64..1_000_000_000).prop_map(|millis| Span::from_millis(millis).unwrap());
    let age_rules = proptest::sample::select(AgeRule::ALL);
    let policy = (1_u32.., ratios(), spans(), spans(), spans(), age_rules).prop_map(
        |(min_sources, max_deviation, max_quote_age, max_clock_skew, frozen_after, aged_at)| Policy {
            rules: Policy::RULES,
            price: PriceRule::Last,
            min_sources,
            max_deviation,
            max_quote_age,
            max_clock_skew,
            frozen_after,
            aged_at,
        },
    );
    (policy, proptest::collection::vec(judged(), 0..6)).prop_map(|(policy, mut quotes)| {
        let mut sources = std::collections::BTreeSet::new();
        quotes.retain(|judged| sources.insert(judged.source));
        Evidence { policy, quotes }
    })
}

fn records() -> impl Strategy<Value = Record> {
    let tick = (timestamps(), intervals(), prices(), ratios(), any::<bool>(), evidence()).prop_map(
        |(instant, interval, price, spread, backfilled, evidence)| {
            Body::Tick(Tick {
                slot: interval.slot_at(instant),
                interval,
                price,
                spread,
                backfilled,
                evidence,
            })
        },
    );
    let gap = (
        timestamps(),
        timestamps(),
        intervals(),
        proptest::sample::select(GapCause::ALL).prop_filter("of the log", |cause| cause.is_of_log()),
        any::<bool>(),
        proptest::option::of(evidence()),
    )
        .prop_map(|(one, other, interval, cause, backfilled, evidence)| {
            let (from, slot) = (interval.slot_at(one.min(other)), interval.slot_at(one.max(other)));
            Body::Gap(Gap { from, slot, interval, cause, backfilled, evidence })
        });
    let lead = (proptest::option::of(timestamps()), any::<bool>(), proptest::option::of(any::<u64>()))
        .prop_map(|(covered, backfilled, leader)| {
            Body::Lead(Lead { covered, backfilled, leader: leader.map(LeaderId) })
        });
    let body = prop_oneof![tick, gap, lead];
    (body, any::<u64>(), proptest::sample::select(Origin::ALL), "[A-Z]{2,5}-[0-9]{2,5}").prop_map(
        |(body, epoch, origin, pair)| Record {
            pair: pair.parse().unwrap(),
            epoch: Epoch(epoch),
            origin,
            body,
        },
    )
}

proptest! {
    #[test]
    fn records_round_trip_byte_for_byte(record in records()) {
        let bytes = encode(&record);
        let read = decode(&bytes).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(encode(&read), bytes);
    }

    #[test]
    fn truncated_and_corrupted_records_do_not_panic(record in records(), position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&record);
        let position = position.index(bytes.len());
        prop_assert!(decode(&bytes[..position]).is_err());
        bytes[position] ^= 1_u8 << bit;
        let _ = decode(&bytes);
    }

    #[test]
    fn every_tick_of_this_version_is_read_without_serde(record in records()) {
        let is_tick = matches!(record.body, Body::Tick(_));
        let read = format::read_tick(&encode(&record));
        prop_assert_eq!(read, is_tick.then_some(record));
    }

    #[test]
    fn a_changed_tick_is_read_as_serde_reads_it_or_left_to_serde(record in records(), change in changes()) {
        let changed = change.of(encode(&record));
        if let Some(read) = format::read_tick(&changed) {
            prop_assert_eq!(read, decode_any(&changed).unwrap(), "{}", String::from_utf8_lossy(&changed));
        }
    }
}

/// A change of a record, after which it often still looks like one.
#[derive(Debug)]
struct Change {
    position: prop::sample::Index,
    removed: usize,
    inserted: &'static [u8],
}

fn changes() -> impl Strategy<Value = Change> {
    const INSERTED: [&[u8]; 22] = [
        b"", b"\"", b"\\", b"\n", b"\x7f", b"\xff", b" ", b"0", b"00", b"1", b"9", b"-", b".", b"e", b"%",
        b"\t%", b",", b"{", b"]", b"null", b"true", b"Z",
    ];
    (any::<prop::sample::Index>(), 0_usize..3, proptest::sample::select(&INSERTED[..]))
        .prop_map(|(position, removed, inserted)| Change { position, removed, inserted })
}

impl Change {
    fn of(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let begin = self.position.index(bytes.len());
        let end = bytes.len().min(begin + self.removed);
        bytes.splice(begin..end, self.inserted.iter().copied());
        bytes
    }
}

const TICK: &str = r#"{"version":2,"kind":"tick","pair":"BTC-USD","slot":"2026-11-21T00:00:10.000Z","interval":"10s","epoch":42,"origin":"live","price":"97012.30","spread":"0","policy":{"rules":1,"price":"mid","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"},"quotes":[{"source":"kraken","price":"97012.30","basis":"last","last":"97012.30","observed_at":"2026-11-21T00:00:10.214Z","source_time":null,"unchanged_since":"2026-11-21T00:00:00.198Z","verdict":"used"},{"source":"gemini","verdict":"http_429"}]}"#;

const POLICY: &str = r#""policy":{"rules":1,"price":"mid","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"}"#;

#[test]
fn a_tick_keeps_the_digits_of_its_price() {
    let record = decode(TICK.as_bytes()).unwrap();
    assert_eq!(record.id(), "BTC-USD:2026-11-21T00:00:10.000Z");
    assert_eq!(String::from_utf8(encode(&record)).unwrap(), TICK);
}

#[test]
fn unknown_fields_are_ignored_and_invalid_records_are_rejected() {
    assert!(decode(TICK.replace(r#""epoch""#, r#""mood":"fine","epoch""#).as_bytes()).is_ok());
    for (from, to) in [
        (r#""version":2"#, r#""version":3"#),
        (r#""kind":"tick""#, r#""kind":"rumour""#),
        (r#""slot":"2026-11-21T00:00:10"#, r#""slot":"2026-11-21T00:00:11"#),
        (r#""price":"97012.30","spread""#, r#""price":97012.30,"spread""#),
        (r#""price":"97012.30","spread""#, r#""price":"-1","spread""#),
        (r#""verdict":"used""#, r#""verdict":"timeout""#),
        (r#""verdict":"http_429""#, r#""verdict":"used""#),
        (r#""verdict":"used""#, r#""verdict":"excellent""#),
        (POLICY, r#""policy":[1,"0.02","30s","5s","10m"]"#),
        (r#""min_sources":1"#, r#""min_sources":0"#),
        (r#""source":"gemini""#, r#""source":"kraken""#),
    ] {
        assert!(TICK.contains(from), "{from}");
        assert!(decode(TICK.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn a_tick_is_read_in_the_same_way_however_it_begins() {
    let expected = decode(TICK.as_bytes()).unwrap();
    let reordered = TICK.replace(r#"{"version":2,"kind":"tick","#, r#"{"kind":"tick","version":2,"#);
    for other in [reordered, format!(" {TICK}"), TICK.replace(r#""kind":"#, r#""kind": "#)] {
        assert_eq!(decode(other.as_bytes()).unwrap(), expected, "{other}");
    }
    // A record that contradicts itself is rejected.
    for twice in [r#""version":2"#, r#""version":3"#, r#""kind":"tick""#, r#""kind":"gap""#] {
        let twice = TICK.replace(r#""epoch""#, &format!(r#"{twice},"epoch""#));
        assert!(decode(twice.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn values_that_json_does_not_allow_are_not_read() {
    let with_quote = |from: &str, to: &str| {
        assert!(TICK.contains(from), "{from}");
        TICK.replacen(from, to, 1)
    };
    for invalid in [
        // A ratio may end in white space and a percent sign, but JSON has no tabulators in texts.
        with_quote(r#""spread":"0""#, "\"spread\":\"0\t%\""),
        with_quote(r#""epoch":42"#, r#""epoch":042"#),
        with_quote(r#""epoch":42"#, r#""epoch":"#),
        with_quote(r#""rules":1"#, r#""rules":99999999999"#),
        format!("{TICK} x"),
        format!("{TICK}]}}"),
    ] {
        assert!(decode(invalid.as_bytes()).is_err(), "{invalid}");
    }
    // These are valid, and unusual.
    for unusual in [
        with_quote(r#""spread":"0""#, r#""spread":"\u0030""#),
        with_quote(r#""spread":"0""#, r#""spread":"0 %""#),
    ] {
        assert!(decode(unusual.as_bytes()).is_ok(), "{unusual}");
    }
}

#[test]
fn a_record_of_another_version_is_refused_with_the_remedy() {
    for (version, remedy) in [(1, "bus.stream"), (3, "upgrade this program")] {
        let other = TICK.replace(r#""version":2"#, &format!(r#""version":{version}"#));
        let error = decode(other.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownVersion { found } if found == version), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

const GAP: &str = r#"{"version":2,"kind":"gap","pair":"BTC-USD","slot":"2026-11-21T00:00:10.000Z","from":"2026-11-21T00:00:10.000Z","cause":"too_few_sources","interval":"10s","epoch":42,"origin":"live","policy":{"rules":1,"price":"mid","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"},"quotes":[{"source":"gemini","verdict":"http_429"}]}"#;

#[test]
fn a_gap_has_both_policy_and_quotes_or_neither() {
    let without = |parts: &[&str]| {
        let text = parts.iter().fold(GAP.to_owned(), |text, part| {
            assert!(text.contains(part), "{part}");
            text.replacen(part, "", 1)
        });
        decode(text.as_bytes())
    };
    let (policy, quotes) = (format!(",{POLICY}"), r#","quotes":[{"source":"gemini","verdict":"http_429"}]"#);
    assert!(without(&[]).is_ok());
    assert!(without(&[&policy, quotes]).is_ok());
    for half in [policy.as_str(), quotes] {
        assert!(matches!(without(&[half]), Err(DecodeError::Malformed(_))), "{half}");
    }
}

#[test]
fn gap_causes_that_only_readers_use_are_rejected() {
    for cause in ["retention", "unreadable"] {
        let changed = GAP.replace("too_few_sources", cause);
        assert!(matches!(decode(changed.as_bytes()), Err(DecodeError::Malformed(_))), "{cause}");
    }
}

#[test]
fn a_decoded_record_can_be_encoded_within_the_size_limit() {
    // Times without milliseconds are accepted, but are encoded with milliseconds. So this record grows when it is
    // encoded.
    const QUOTE: &str = r#"{"source":"a_name_as_long_as_maynnn","price":"999999999999.9999999999999","basis":"last","last":"999999999999.9999999999999","observed_at":"2026-11-21T00:00:10Z","source_time":"2026-11-21T00:00:10Z","unchanged_since":"2026-11-21T00:00:10Z","verdict":"outlier"}"#;
    let (head, _) = TICK.split_once("[").unwrap();
    let quote = |number: usize| QUOTE.replace("nnn", &format!("{number:03}"));
    let with = |quotes: usize| format!("{head}[{}]}}", (0..quotes).map(quote).collect::<Vec<_>>().join(","));
    let most = encode(&decode(with(MAX_QUOTES).as_bytes()).unwrap());
    assert!(most.len() > with(MAX_QUOTES).len() && most.len() < MAX_RECORD_BYTES, "{}", most.len());
    let more = with(MAX_QUOTES + 1);
    assert!(more.len() < MAX_RECORD_BYTES && decode(more.as_bytes()).is_err());
}

mod asyncapi {
    use serde_yaml_ng::Value;

    use super::*;
    use crate::bus::Subjects;

    fn document() -> Value {
        serde_yaml_ng::from_str(include_str!("../../../docs/asyncapi.yaml")).unwrap()
    }

    #[test]
    fn examples_are_records_that_round_trip() {
        let document = document();
        for message in ["Tick", "Gap", "Lead"] {
            let examples = document["components"]["messages"][message]["examples"].as_sequence().unwrap();
            assert!(!examples.is_empty(), "{message} has no example");
            for example in examples {
                let payload = serde_json::to_vec(&example["payload"]).unwrap();
                let record = decode(&payload).unwrap();
                let written: serde_json::Value = serde_json::from_slice(&encode(&record)).unwrap();
                let documented: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!(written, documented, "{message}");
                assert_eq!(example["headers"]["Nats-Msg-Id"].as_str().unwrap(), record.id());
            }
        }
    }

    #[test]
    fn the_channel_is_the_subject() {
        let document = document();
        let address = document["channels"]["records"]["address"].as_str().unwrap();
        let pair = "BTC-USD".parse().unwrap();
        let named = address.replace("{base}", "BTC").replace("{quote}", "USD");
        assert_eq!(named, Subjects::new("ticks").unwrap().of(pair));
    }

    #[test]
    fn exactly_the_known_words_are_listed() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let listed = |schema: &str| -> Vec<String> {
            let words = schemas[schema]["enum"].as_sequence().unwrap();
            words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let spelled = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(listed("Verdict"), spelled(Verdict::all().map(Verdict::as_str).collect()));
        let causes = GapCause::ALL.iter().filter(|cause| cause.is_of_log());
        assert_eq!(listed("GapCause"), spelled(causes.map(|word| word.as_str()).collect()));
        assert_eq!(listed("Basis"), spelled(Basis::ALL.iter().map(|word| word.as_str()).collect()));
        assert_eq!(listed("Origin"), spelled(Origin::ALL.iter().map(|word| word.as_str()).collect()));
    }
}
