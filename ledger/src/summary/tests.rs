//! Compares the deviation with its definition, and encodes and decodes summaries, also of extreme prices.

use common::domain::Span;
use proptest::prelude::*;
use rust_decimal::RoundingStrategy;

use super::*;

/// Any valid price: small and large, with few digits and with many.
fn price() -> impl Strategy<Value = Price> {
    let bound = prop_oneof![Just(1_000_i128), Just(10_i128.pow(12)), Just(10_i128.pow(25))];
    (bound, any::<u128>(), 0_u32..=14).prop_map(|(bound, number, scale)| {
        let bound = bound.min(10_i128.pow(12 + scale)) - 1;
        let mantissa = i128::try_from(number % bound.cast_unsigned()).unwrap() + 1;
        Price::new(Decimal::from_i128_with_scale(mantissa, scale)).unwrap()
    })
}

/// Realistic prices, some cents apart.
fn near(from: i64) -> impl Strategy<Value = Price> {
    (0_i64..2_000).prop_map(move |cents| Price::new(Decimal::new(from + cents, 2)).unwrap())
}

/// Ticks with these prices and increasing slots, with gaps and an occasional change of the interval.
fn ticks(prices: impl Strategy<Value = Price>) -> impl Strategy<Value = Vec<Point>> {
    let step = prop_oneof![8 => Just(0_u64), 1 => 1_u64..5, 1 => 1_000_u64..100_000];
    let interval = prop_oneof![16 => Just(10_000_u64), 1 => 100_u64..86_400_000];
    prop::collection::vec((step, interval, prices), 1..80).prop_map(|ticks| {
        let mut now = Timestamp::from_unix_millis(1_700_000_000_000).unwrap();
        let point = |(steps, millis, price)| {
            let interval = Interval::new(Span::from_millis(millis).unwrap()).unwrap();
            let slot = interval.after(now.plus(interval.duration() * u32::try_from(steps).unwrap() / 1_000));
            now = slot.start();
            Point { slot, interval, price, backfilled: slot.start().unix_millis() % 30_000 == 0 }
        };
        ticks.into_iter().map(point).collect()
    })
}

fn summary(ticks: &[Point]) -> Summary {
    ticks.iter().map(|point| Summary::of(*point)).reduce(|one, other| one.merge(&other)).unwrap()
}

/// The square root, to more digits than are compared.
fn root(of: Decimal) -> Decimal {
    let mut root = of.max(Decimal::ONE);
    for _ in 0..100 {
        if !root.is_zero() {
            root = (root + of / root) / Decimal::TWO;
        }
    }
    root
}

proptest! {
    #[test]
    fn deviation_is_the_root_of_the_mean_square_distance(ticks in ticks(near(9_701_230))) {
        let prices: Vec<Decimal> = ticks.iter().map(|tick| tick.price.decimal()).collect();
        let count = Decimal::from(prices.len());
        let backfilled = ticks.iter().filter(|tick| tick.backfilled).count();
        prop_assert_eq!(summary(&ticks).backfilled, backfilled as u64);
        let mean = prices.iter().sum::<Decimal>() / count;
        let variance = prices.iter().map(|price| (price - mean) * (price - mean)).sum::<Decimal>() / count;
        let found = summary(&ticks).stddev();
        // The number of places is tested over the whole range of prices, in `averages`.
        let expected = root(variance).round_dp_with_strategy(found.scale(), RoundingStrategy::MidpointNearestEven);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_encoded_summary_decodes_to_the_same(
        ticks in prop_oneof![ticks(price()), ticks(near(9_701_230))],
        behind in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let summary = summary(&ticks);
        let mut bytes = Vec::new();
        summary.encode(&mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(&behind);
        let mut rest = bytes.as_slice();
        let read = Summary::decode(&mut rest);
        prop_assert_eq!(read, Some(summary));
        prop_assert_eq!(rest, behind.as_slice());
        // Prices compare equal by value, but their digits must be preserved too.
        let digits = |of: &Summary| [of.first, of.last, of.min, of.max].map(|point| point.price.to_string());
        prop_assert_eq!(digits(&read.unwrap()), digits(&summary));
        for cut in 0..length {
            prop_assert_eq!(Summary::decode(&mut &bytes[..cut]), None, "cut to {}", cut);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        one in ticks(price()), other in ticks(price()),
        at in any::<prop::sample::Index>(), bit in 0_u32..8,
    ) {
        let mut bytes = Vec::new();
        summary(&one).encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(read) = Summary::decode(&mut bytes.as_slice()) {
            let merged = read.merge(&summary(&other)).merge(&read);
            for summary in [read, merged] {
                let derived = [summary.mean(), summary.twap(), summary.stddev()];
                prop_assert!(derived.into_iter().all(|value| value <= Decimal::from(10_u64.pow(12))));
                summary.encode(&mut Vec::new());
            }
        }
    }

    #[test]
    fn decoding_any_bytes_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(read) = Summary::decode(&mut bytes.as_slice()) {
            read.merge(&read).encode(&mut Vec::new());
        }
    }
}

fn point(second: i64, price: &str) -> Point {
    let interval: Interval = "10s".parse().unwrap();
    let slot = interval.slot(Timestamp::from_unix_millis(second * 1_000).unwrap()).unwrap();
    Point { slot, interval, price: price.parse().unwrap(), backfilled: false }
}

#[test]
fn deviation_is_rounded_to_the_even_neighbour() {
    for (one, other, expected) in [
        ("1", "1", "0.00000000"),
        // Twelve digits show these exactly.
        ("1", "1.00000000000002", "0.0000000000000100000000000"),
        ("1", "1.00000003", "0.0000000150000000000"),
        ("1", "3", "1.00000000000"),
        // From a thousand on there are eight places.
        ("1", "2001.00000001", "1000.00000000"),
        ("1", "2001.0000000100001", "1000.00000001"),
        ("1", "2001.00000003", "1000.00000002"),
        ("1", "2001.0000000299999", "1000.00000001"),
        ("1", "2001.00000005", "1000.00000002"),
    ] {
        let deviation = summary(&[point(10, one), point(20, other)]).stddev();
        assert_eq!(deviation.to_string(), expected, "{one} and {other}");
    }
    // The variance of 1, 2 and 4 is 14/9.
    let three = summary(&[point(10, "1"), point(20, "2"), point(30, "4")]);
    assert_eq!(three.stddev().to_string(), "1.24721912892");
}

/// The lowest and the highest valid price, alternating over ten years of the shortest interval.
#[test]
fn ten_years_of_extremes_are_exact_and_can_be_encoded() {
    let interval: Interval = "100ms".parse().unwrap();
    let at = |millis: i64| interval.slot(Timestamp::from_unix_millis(millis).unwrap()).unwrap();
    let (low, high): (Price, Price) =
        ("0.00000000000001".parse().unwrap(), "999999999999.99999999999999".parse().unwrap());
    let [one, other] = [low, high].map(|price| Point { slot: at(0), interval, price, backfilled: false });
    // Each round doubles the number of ticks by merging the summary with a copy of itself at later slots.
    let mut run = Summary::of(one).merge(&Summary::of(Point { slot: at(100), ..other }));
    for _ in 0..30 {
        let mut later = run;
        let past = run.last.slot.start().unix_millis() + 100;
        for point in [&mut later.first, &mut later.last, &mut later.min, &mut later.max] {
            point.slot = at(point.slot.start().unix_millis() + past);
        }
        run = run.merge(&later);
    }
    assert_eq!(run.count, 1 << 31);
    assert_eq!(run.mean().to_string(), "500000000000.00000000");
    // Each price is exactly 499,999,999,999.99999999999999 from the mean.
    assert_eq!(run.stddev().to_string(), "500000000000.00000000");
    let mut bytes = Vec::new();
    run.encode(&mut bytes);
    assert_eq!(Summary::decode(&mut bytes.as_slice()), Some(run));
}

#[test]
fn a_typical_minute_is_short() {
    let prices = ["97012.34", "97013.005", "97010.90", "97011.22", "97009.87", "97014.01"];
    let second = |index: usize| 1_764_000_000 + 10 * i64::try_from(index).unwrap();
    let ticks: Vec<Point> =
        prices.iter().enumerate().map(|(index, price)| point(second(index), price)).collect();
    let mut bytes = Vec::new();
    summary(&ticks).encode(&mut bytes);
    assert!(bytes.len() <= 50, "{} bytes", bytes.len());
}

#[test]
fn the_first_of_equal_extremes_is_kept_with_its_slot() {
    let ticks = [point(10, "2"), point(20, "1.0"), point(30, "3"), point(40, "1"), point(50, "3.00")];
    let summary = summary(&ticks);
    assert_eq!((summary.min.slot, summary.max.slot), (ticks[1].slot, ticks[2].slot));
    assert_eq!((summary.min.price.to_string(), summary.max.price.to_string()), ("1.0".into(), "3".into()));
}

#[test]
fn where_the_interval_changes_the_shorter_one_determines_what_is_missing() {
    let at = |second: i64, interval: &str| {
        let interval: Interval = interval.parse().unwrap();
        let slot = interval.slot(Timestamp::from_unix_millis(second * 1_000).unwrap()).unwrap();
        Point { slot, interval, price: "1".parse().unwrap(), backfilled: false }
    };
    let gap = |ticks: [Point; 2]| {
        summary(&ticks)
            .largest_gap(ticks[0].slot.start().minus(Duration::from_millis(1)), ticks[1].slot.start())
    };
    assert_eq!(gap([at(10, "10s"), at(11, "1s")]), Duration::ZERO);
    assert_eq!(gap([at(10, "10s"), at(20, "1s")]), Duration::from_secs(9));
    assert_eq!(gap([at(19, "1s"), at(20, "10s")]), Duration::ZERO);
    assert_eq!(gap([at(10, "1s"), at(20, "10s")]), Duration::from_secs(9));
}

#[test]
fn sums_that_no_ticks_have_are_refused() {
    let good = summary(&[point(10, "1"), point(20, "3"), point(30, "2")]);
    let far = point(10, "4");
    let refused = |wrong: Summary| {
        let mut bytes = Vec::new();
        wrong.encode(&mut bytes);
        Summary::decode(&mut bytes.as_slice()).is_none()
    };
    assert!(!refused(good));
    // With these sums of squares, the variance would be larger than the extremes allow, or negative.
    let square = Wide::square(10_u128.pow(14));
    assert!(refused(Summary { squares: good.squares.plus(square.times(2).unwrap()).unwrap(), ..good }));
    assert!(refused(Summary { squares: good.squares.minus(square.times(3).unwrap()).unwrap(), ..good }));
    for wrong in [
        Summary { sum: good.sum * 2, ..good },
        Summary { weighted: good.weighted * 2, ..good },
        Summary { largest_gap: 20_001, ..good },
        Summary { count: 20_002, ..good },
        Summary { count: 1, ..good },
        Summary { min: far, ..good },
        Summary { max: good.min, ..good },
        Summary { first: far, ..good },
        Summary { last: good.first, ..good },
    ] {
        assert!(refused(wrong), "{wrong:?}");
    }
}
