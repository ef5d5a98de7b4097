//! Records from the aggregator recompute to the same result, and any change to them is detected.

use common::{
    domain::{AgeRule, Epoch, Observation, Origin, Policy, PriceRule, Span, Timestamp, Words},
    wire,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

const NOW: &str = "2026-11-21T00:00:10.200Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn seconds(count: u64) -> std::time::Duration {
    std::time::Duration::from_secs(count)
}

prop_compose! {
    /// An observation close to the limits of the policies below, so that every verdict and both causes of gaps
    /// occur.
    fn observation()(cents in 9_700_000_i64..10_300_000, scale in 1_u32..4, age in prop::option::of(0_u64..60),
                     ahead in any::<bool>(), still in 0_u64..1_200, own_limit in prop::option::of(1_u16..90)) -> Observation {
        let source_time = age.map(|age| if ahead { now().plus(seconds(age / 4)) } else { now().minus(seconds(age)) });
        let price = Price::new(Decimal::new(cents, scale - 1) / Decimal::from(10_i64.pow(3 - scale))).unwrap();
        let max_age = own_limit.map(Span::from_seconds);
        let unchanged_since = now().minus(seconds(still));
        Observation { source_time, unchanged_since, max_age, ..Observation::traded(price, now()) }
    }
}

prop_compose! {
    /// The same with a book around the last trade, which may be crossed or too wide.
    fn with_book()(observation in observation(), below in -1_i64..3_000, above in -1_i64..3_000) -> Observation {
        let last = observation.price;
        let side = |ratio: i64| Price::new((last.decimal() * Decimal::new(100_000 + ratio, 5)).round_dp(4)).unwrap();
        let reported = Reported { last: Some(last), bid: Some(side(-below)), ask: Some(side(above)) };
        Observation { reported, ..observation }
    }
}

/// The quote as the poller makes it of what a source reported.
fn priced(observation: Observation, policy: &Policy) -> Observation {
    let (price, basis) = observation.reported.price(policy).unwrap();
    Observation { price, basis, ..observation }
}

fn result() -> impl Strategy<Value = Result<Observation, Failure>> {
    prop_oneof![
        2 => observation().prop_map(Ok),
        2 => with_book().prop_map(Ok),
        1 => prop::sample::select(Failure::ALL).prop_map(Err),
    ]
}

prop_compose! {
    fn quotes()(results in prop::collection::vec((result(), 0_u8..6), 0..8)) -> Vec<Quote> {
        let quote = |(index, (result, shadow)): (usize, &(Result<Observation, Failure>, u8))| Quote {
            source: format!("source_{index}").parse().unwrap(),
            shadow: *shadow == 0,
            result: *result,
        };
        results.iter().enumerate().map(quote).collect()
    }
}

prop_compose! {
    fn policy()(price in prop::sample::select(PriceRule::ALL), min_sources in 1_u32..4, deviation in prop::sample::select(vec!["0", "0.5%", "2%", "5%"]),
                age in 1_u16..60, skew in 1_u16..20, frozen in 1_u16..1_200) -> Policy {
        Policy {
            rules: Policy::RULES,
            price,
            min_sources,
            max_deviation: deviation.parse().unwrap(),
            max_quote_age: Span::from_seconds(age),
            max_clock_skew: Span::from_seconds(skew),
            frozen_after: Span::from_seconds(frozen),
            aged_at: AgeRule::Arrival,
        }
    }
}

fn record(quotes: &[Quote], policy: &Policy) -> Record {
    let interval: Interval = "10s".parse().unwrap();
    let priced = |quote: &Quote| Quote { result: quote.result.map(|seen| priced(seen, policy)), ..*quote };
    let quotes: Vec<Quote> = quotes.iter().map(priced).collect();
    let body = aggregate(&quotes, policy, interval.slot_at(now()), interval);
    Record { pair: "BTC-USD".parse().unwrap(), epoch: Epoch(3), origin: Origin::Live, body }
}

/// All texts that differ from this one in a single digit.
fn other_digits(text: &str) -> Vec<String> {
    let digit = |(at, old): (usize, char)| {
        ('0'..='9').filter(move |new| old.is_ascii_digit() && *new != old).map(move |new| {
            let mut changed = text.to_owned();
            changed.replace_range(at..=at, &new.to_string());
            changed
        })
    };
    text.char_indices().flat_map(digit).collect()
}

/// The record with another text in one of its own members. None if the result is not a valid record.
fn with(record: &Record, field: &str, old: &str, new: &str) -> Option<Record> {
    let text = String::from_utf8(wire::encode(record)).unwrap();
    // The record's own members come before those of its quotes, so the first match is the record's member.
    let (from, to) = (format!("\"{field}\":\"{old}\""), format!("\"{field}\":\"{new}\""));
    assert!(text.contains(&from), "{from} in {text}");
    wire::decode(text.replacen(&from, &to, 1).as_bytes()).ok()
}

/// Whether a verdict is input, from the source or the settings, rather than computed.
fn is_given(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Shadow | Verdict::Failed(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_aggregated_record_recomputes_to_the_same_after_encoding(quotes in quotes(), policy in policy()) {
        let record = wire::decode(&wire::encode(&record(&quotes, &policy))).unwrap();
        prop_assert_eq!(recompute(&record), Ok(Outcome::Agrees));
    }

    #[test]
    fn a_changed_digit_of_price_or_spread_is_detected(quotes in quotes(), policy in policy()) {
        let record = record(&quotes, &policy);
        if let Body::Tick(tick) = &record.body {
            let price = tick.price.to_string();
            // An appended zero does not change the value, but is detected too.
            for changed in other_digits(&price).into_iter().chain([format!("{}0", with_point(&price))]) {
                let Some(changed) = with(&record, "price", &price, &changed) else { continue };
                prop_assert!(matches!(recompute(&changed).unwrap_err()[..], [Difference::Price(_)]));
            }
            let spread = tick.spread.to_string();
            for changed in other_digits(&spread) {
                let changed = with(&record, "spread", &spread, &changed).unwrap();
                prop_assert!(matches!(recompute(&changed).unwrap_err()[..], [Difference::Spread(_)]));
            }
        }
    }

    #[test]
    fn a_changed_cause_verdict_or_kind_is_detected(quotes in quotes(), policy in policy()) {
        let record = record(&quotes, &policy);
        if let Body::Gap(gap) = &record.body {
            for cause in GapCause::ALL.iter().filter(|cause| cause.is_of_log() && **cause != gap.cause) {
                let changed = with(&record, "cause", gap.cause.as_str(), cause.as_str()).unwrap();
                prop_assert!(matches!(recompute(&changed).unwrap_err()[..], [Difference::Cause(_)]));
            }
        }
        for (index, was) in judged(&record.body).iter().enumerate() {
            for verdict in Verdict::ON_QUOTES {
                if verdict == was.verdict || is_given(verdict) || is_given(was.verdict) {
                    continue;
                }
                let mut changed = record.clone();
                evidence(&mut changed).quotes[index].verdict = verdict;
                let expected = Difference::Verdict(was.source, Both { recorded: verdict, recomputed: was.verdict });
                prop_assert_eq!(recompute(&changed), Err(vec![expected]));
            }
        }
        let mut other = record.clone();
        other.body = match record.body.clone() {
            Body::Tick(tick) => Body::Gap(common::domain::Gap {
                from: tick.slot,
                slot: tick.slot,
                interval: tick.interval,
                cause: GapCause::Disagreement,
                backfilled: false,
                evidence: Some(tick.evidence),
            }),
            Body::Gap(gap) => Body::Tick(common::domain::Tick {
                slot: gap.slot,
                interval: gap.interval,
                price: "100".parse().unwrap(),
                spread: "0".parse().unwrap(),
                backfilled: false,
                evidence: gap.evidence.unwrap(),
            }),
            Body::Lead(_) => unreachable!(),
        };
        prop_assert!(matches!(recompute(&other).unwrap_err()[..], [Difference::Kind(_)]));
    }
}

fn with_point(price: &str) -> String {
    if price.contains('.') { price.to_owned() } else { format!("{price}.") }
}

fn evidence(record: &mut Record) -> &mut Evidence {
    match &mut record.body {
        Body::Tick(tick) => &mut tick.evidence,
        Body::Gap(gap) => gap.evidence.as_mut().unwrap(),
        Body::Lead(_) => unreachable!(),
    }
}

fn observed(price: &str) -> Result<Observation, Failure> {
    let price = price.parse().unwrap();
    Ok(Observation::traded(price, now()))
}

fn some_policy() -> Policy {
    Policy {
        rules: Policy::RULES,
        price: PriceRule::Mid,
        min_sources: 2,
        max_deviation: "2%".parse().unwrap(),
        max_quote_age: Span::from_seconds(30),
        max_clock_skew: Span::from_seconds(5),
        frozen_after: Span::from_seconds(600),
        aged_at: AgeRule::Arrival,
    }
}

fn three(prices: [&str; 3]) -> Record {
    let quotes = prices.iter().zip(["kraken", "coinbase", "bitstamp"]).map(|(price, source)| Quote {
        source: source.parse().unwrap(),
        shadow: false,
        result: observed(price),
    });
    record(&quotes.collect::<Vec<_>>(), &some_policy())
}

#[test]
fn a_difference_shows_the_recorded_and_the_recomputed_value() {
    let mut record = three(["97012.30", "97012.35", "97012.40"]);
    let Body::Tick(tick) = &mut record.body else { unreachable!() };
    tick.price = "97012.350".parse().unwrap();
    tick.evidence.quotes[2].verdict = Verdict::Outlier;
    let shown: Vec<String> = recompute(&record).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "price recorded 97012.350, recomputed 97012.35",
            "verdict on bitstamp recorded outlier, recomputed used",
        ]
    );
}

#[test]
fn a_changed_quote_or_policy_is_detected() {
    let mut changed_quote = three(["97012.30", "97012.35", "97012.40"]);
    let seen = evidence(&mut changed_quote).quotes[1].observation.as_mut().unwrap();
    (seen.price, seen.reported.last) = ("97012.36".parse().unwrap(), Some("97012.36".parse().unwrap()));
    assert!(matches!(recompute(&changed_quote).unwrap_err()[..], [Difference::Price(_)]));
    let mut changed_policy = three(["97012.30", "97012.35", "97012.40"]);
    evidence(&mut changed_policy).policy.min_sources = 4;
    let differences = recompute(&changed_policy).unwrap_err();
    let recorded = Agreed::Price("97012.35".parse().unwrap());
    let recomputed = Agreed::Gap(GapCause::TooFewSources);
    assert_eq!(differences[0], Difference::Kind(Both { recorded, recomputed }));
    assert_eq!(differences.len(), 4, "the kind, and the verdict of each quote: {differences:?}");
}

/// A tick of three sources, each of which returned a trade and a book.
fn of_books() -> Record {
    let quote = |(source, last, bid, ask): (&str, &str, &str, &str)| {
        let price = |text: &str| Some(text.parse().unwrap());
        let reported = Reported { last: price(last), bid: price(bid), ask: price(ask) };
        let result = Ok(Observation { reported, ..Observation::traded(last.parse().unwrap(), now()) });
        Quote { source: source.parse().unwrap(), shadow: false, result }
    };
    let quotes = [
        ("kraken", "97012.10", "97012.20", "97012.40"),
        ("coinbase", "97012.40", "97012.37", "97012.39"),
        ("bitstamp", "97012.00", "97012.31", "97012.32"),
    ];
    record(&quotes.map(quote), &some_policy())
}

#[test]
fn the_price_of_every_quote_follows_from_what_its_source_reported() {
    let mut record = of_books();
    let Body::Tick(tick) = &record.body else { unreachable!() };
    assert_eq!(tick.price.to_string(), "97012.315");
    assert!(tick.evidence.quotes.iter().all(|judged| judged.observation.unwrap().basis == Basis::Mid));
    assert_eq!(recompute(&record), Ok(Outcome::Agrees));
    // Under another rule, the same quotes would have other prices.
    evidence(&mut record).policy.price = PriceRule::Last;
    let quotes: Vec<Difference> = ["kraken", "coinbase", "bitstamp"]
        .map(|source| Difference::Quote(source.parse().unwrap()))
        .into_iter()
        .collect();
    assert_eq!(recompute(&record), Err(quotes));
}

#[test]
fn a_changed_bid_basis_or_price_of_a_quote_is_detected() {
    let price = |text: &str| -> Price { text.parse().unwrap() };
    let changes: [&dyn Fn(&mut Observation); 8] = [
        &|seen| seen.reported.bid = Some(price("97012.21")),
        &|seen| seen.reported.ask = Some(price("97012.41")),
        &|seen| seen.reported.bid = None,
        &|seen| seen.basis = Basis::Last,
        &|seen| seen.basis = Basis::CandleClose,
        &|seen| seen.price = price("97012.31"),
        // The same value with other digits.
        &|seen| seen.price = price("97012.300"),
        &|seen| seen.reported = Reported::default(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut record = of_books();
        change(evidence(&mut record).quotes[0].observation.as_mut().unwrap());
        let differences = recompute(&record).unwrap_err();
        assert!(
            differences.contains(&Difference::Quote("kraken".parse().unwrap())),
            "{index}: {differences:?}"
        );
    }
}

#[test]
fn the_close_of_a_candle_needs_no_other_price() {
    let mut record = three(["97012.30", "97012.35", "97012.40"]);
    for judged in &mut evidence(&mut record).quotes {
        let seen = judged.observation.as_mut().unwrap();
        (seen.basis, seen.reported) = (Basis::CandleClose, Reported::default());
    }
    assert_eq!(recompute(&record), Ok(Outcome::Agrees));
}

#[test]
fn a_record_of_other_rules_is_not_judged() {
    let mut record = of_books();
    evidence(&mut record).policy.rules = Policy::RULES + 1;
    assert_eq!(recompute(&record), Ok(Outcome::OtherRules(Policy::RULES + 1)));
}

#[test]
fn without_quotes_there_is_nothing_to_recompute() {
    let mut record = three(["1", "1", "1"]);
    record.body = Body::Lead(common::domain::Lead { covered: None, backfilled: false, leader: None });
    assert_eq!(recompute(&record), Ok(Outcome::NothingToRecompute));
    let mut record = three(["100", "200", "400"]);
    let Body::Gap(gap) = &mut record.body else { unreachable!() };
    gap.from = gap.interval.before(gap.from);
    assert!(matches!(recompute(&record).unwrap_err()[..], [Difference::From(_)]));
    for (cause, is_missed) in [
        (GapCause::TooFewSources, true),
        (GapCause::Disagreement, true),
        (GapCause::NoLeader, false),
        (GapCause::Missed, false),
    ] {
        let Body::Gap(gap) = &mut record.body else { unreachable!() };
        (gap.evidence, gap.cause) = (None, cause);
        let missing = Err(vec![Difference::QuotesMissing(cause)]);
        assert_eq!(recompute(&record), if is_missed { missing } else { Ok(Outcome::NothingToRecompute) });
    }
}

#[test]
fn a_quote_that_is_unchanged_since_after_it_was_observed_is_detected() {
    let mut record = three(["97012.30", "97012.35", "97012.40"]);
    let quote = &mut evidence(&mut record).quotes[1];
    let (source, seen) = (quote.source, quote.observation.as_mut().unwrap());
    seen.unchanged_since = seen.observed_at.plus(std::time::Duration::from_millis(1));
    assert_eq!(recompute(&record), Err(vec![Difference::TimesReversed(source)]));
}
