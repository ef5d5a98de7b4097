use common::domain::{Interval, Price};

use super::*;

/// A Wednesday at 10:12:30.
const NEWEST: i64 = 1_780_481_550_000;

const DAY_MILLIS: i64 = 86_400_000;

fn interval() -> Interval {
    "10s".parse().unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

fn known() -> Known {
    Known { from: at(NEWEST - 360 * DAY_MILLIS), newest: interval().slot_at(at(NEWEST)) }
}

fn minutes(buckets: Result<Buckets, Problem>) -> i64 {
    buckets.unwrap().length / 60_000
}

#[test]
fn the_length_of_rows_depends_on_the_days() {
    let chart = |days, interval| last_days(known(), days, interval);
    for (days, expected) in [(1, 5), (2, 60), (90, 60), (91, 1_440), (365, 1_440)] {
        assert_eq!(minutes(chart(Days::Last(days), None)), expected, "{days}");
    }
    assert_eq!(minutes(chart(Days::Max, None)), 1_440);
    assert_eq!(minutes(chart(Days::Last(10), Some("5m"))), 5);
    assert_eq!(minutes(chart(Days::Last(1), Some("daily"))), 1_440);
    for (days, interval) in
        [(Days::Last(11), "5m"), (Days::Last(101), "hourly"), (Days::Max, "hourly"), (Days::Last(1), "1m")]
    {
        assert!(chart(days, Some(interval)).is_err(), "{days:?} {interval}");
    }
}

#[test]
fn candles_have_the_documented_lengths() {
    let length = |days, interval| minutes(candles(known(), days, interval));
    for (days, expected) in [(1, 30), (2, 30), (3, 240), (7, 240), (30, 240), (31, 5_760), (365, 5_760)] {
        assert_eq!(length(Days::Last(days), None), expected, "{days}");
    }
    assert_eq!(length(Days::Max, None), 5_760);
    assert_eq!((length(Days::Last(90), Some("hourly")), length(Days::Last(180), Some("daily"))), (60, 1_440));
    for (days, interval) in [(91, "hourly"), (181, "daily"), (1, "5m")] {
        assert!(candles(known(), Days::Last(days), Some(interval)).is_err(), "{days} {interval}");
    }
}

#[test]
fn a_chart_begins_with_a_whole_bucket_and_ends_with_the_newest_slot() {
    let buckets = last_days(known(), Days::Last(1), None).unwrap();
    // 10:15 of the day before.
    assert_eq!(buckets.from, at(NEWEST - DAY_MILLIS + 150_000));
    assert_eq!(buckets.to, at(NEWEST + 1));
    let all = last_days(known(), Days::Max, None).unwrap();
    assert!(all.from >= known().from && all.from.unix_millis() % DAY_MILLIS == 0);
}

#[test]
fn a_range_of_a_day_has_five_minutes_only_if_it_ends_now() {
    let of = |from: i64, to: i64| range(known(), (at(from), at(to)), None);
    let hour = DAY_MILLIS / 24;
    assert_eq!(minutes(of(NEWEST - DAY_MILLIS, NEWEST)), 5);
    assert_eq!(minutes(of(NEWEST - hour, NEWEST + DAY_MILLIS)), 5);
    assert_eq!(minutes(of(NEWEST - 3 * DAY_MILLIS, NEWEST - 2 * DAY_MILLIS)), 60);
    assert_eq!(minutes(of(NEWEST - 91 * DAY_MILLIS, NEWEST)), 1_440);
    // A range is cut at the newest slot before its length counts.
    assert_eq!(minutes(of(NEWEST - 2 * hour, NEWEST + 400 * DAY_MILLIS)), 5);
    assert_eq!(of(NEWEST - hour, NEWEST - hour).unwrap().to, at(NEWEST - hour + 1));
    assert!(of(NEWEST, NEWEST - 1).is_err());
    let future = of(NEWEST + hour, NEWEST + 2 * hour).unwrap();
    assert!(future.from > future.to);
}

fn bucket(slots: &[(i64, &str)]) -> Summary {
    let point = |(millis, price): &(i64, &str)| {
        let price: Price = price.parse().unwrap();
        Summary::of(Point {
            slot: interval().slot_at(at(*millis)),
            interval: interval(),
            price,
            backfilled: false,
        })
    };
    slots.iter().map(point).reduce(|one, next| one.merge(&next)).unwrap()
}

#[test]
fn rows_are_the_first_ticks_and_the_very_last() {
    let (one, two) = (bucket(&[(0, "1"), (10_000, "2")]), bucket(&[(300_000, "3")]));
    let prices = |buckets: &[Summary]| {
        let buckets: Vec<_> = buckets.iter().map(|bucket| (at(0), *bucket)).collect();
        points(&buckets).iter().map(|point| point.price.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(prices(&[one, two]), ["1", "3"]);
    assert_eq!(prices(&[two]), ["3"]);
    assert_eq!(prices(&[one]), ["1", "2"]);
    assert_eq!(prices(&[]), Vec::<String>::new());
}

#[test]
fn a_candle_counts_when_all_its_slots_are_known() {
    let candle = bucket(&[(0, "1")]);
    let ends = |next: i64| {
        let next = interval().slot_at(at(next));
        closed(vec![(at(0), candle), (at(60_000), candle)], 60_000, next)
            .map(|(end, _)| end.unix_millis())
            .collect::<Vec<_>>()
    };
    assert_eq!(ends(120_000), [60_000, 120_000]);
    assert_eq!(ends(110_000), [60_000]);
    assert_eq!(ends(50_000), Vec::<i64>::new());
}
