use common::domain::Verdict;

use super::*;
use crate::aggregate::recompute::{Outcome, recompute};

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_millis((1_700_000_040 + second) * 1_000).unwrap()
}

fn import(files: &[&str], min_sources: u32) -> Import {
    let recordings = (0..).zip(files).map(|(number, text): (u32, &&str)| {
        (format!("file_{number}").parse().unwrap(), Recording::read(text.as_bytes()).unwrap())
    });
    let (pair, interval) = ("BTC-USD".parse().unwrap(), "1m".parse().unwrap());
    let policy = Policy {
        min_sources,
        max_quote_age: Interval::MINUTE.span(),
        aged_at: AgeRule::Slot,
        ..PollerConfig::default().policy_of_all().unwrap()
    };
    Import { pair, interval, policy, sources: recordings.collect(), now: at(86_400) }
}

/// A file with prices at these seconds.
fn file(rows: &[(i64, &str)]) -> String {
    let rows = rows.iter().map(|(second, price)| format!("{},{price}\n", at(*second)));
    format!("time,price\n{}", rows.collect::<String>())
}

/// The results, by the seconds of their slots: a price, or the extent and the cause of a gap.
fn results(import: &Import) -> Vec<(i64, String)> {
    let second = |slot: Slot| slot.start().unix_millis() / 1_000 - at(0).unix_millis() / 1_000;
    let result = |body: Body| match body {
        Body::Tick(tick) => {
            assert!(tick.backfilled);
            (second(tick.slot), tick.price.to_string())
        }
        Body::Gap(gap) => {
            assert!(gap.backfilled);
            (second(gap.slot), format!("{} {}", second(gap.from), gap.cause))
        }
        Body::Lead(_) => panic!("a lead"),
    };
    import.bodies().unwrap().into_iter().map(result).collect()
}

fn words(results: &[(i64, &str)]) -> Vec<(i64, String)> {
    results.iter().map(|(second, text)| (*second, (*text).to_owned())).collect()
}

#[test]
fn a_slot_has_the_newest_row_since_the_slot_before_and_a_hole_is_one_gap() {
    let text =
        file(&[(0, "100"), (1, "101"), (59, "102"), (60, "103"), (61, "104"), (301, "105"), (420, "106.50")]);
    let expected =
        [(0, "100"), (60, "103"), (120, "104"), (300, "180 not_backfilled"), (360, "105"), (420, "106.50")];
    assert_eq!(results(&import(&[&text], 1)), words(&expected));
}

#[test]
fn sources_agree_by_the_ordinary_rules() {
    let one = file(&[(0, "90"), (60, "100"), (120, "100"), (180, "100"), (240, "101")]);
    let two = file(&[(60, "101"), (120, "200"), (240, "101")]);
    let expected = [(60, "100.5"), (120, "120 disagreement"), (180, "180 too_few_sources"), (240, "101")];
    let import = import(&[&one, &two], 2);
    assert_eq!(results(&import), words(&expected));
    for body in import.bodies().unwrap() {
        let quotes = body.evidence().unwrap().quotes.clone();
        assert!(
            quotes.iter().all(|judged| judged.observation.is_none_or(|seen| seen.basis == Basis::Imported))
        );
        assert!(quotes.iter().all(|judged| judged.verdict != Verdict::Stale));
        let record = common::domain::Record {
            pair: import.pair,
            epoch: common::domain::Epoch(1),
            origin: Origin::Live,
            body,
        };
        let record = common::wire::decode(&common::wire::encode(&record)).unwrap();
        assert_eq!(recompute(&record), Ok(Outcome::Agrees));
    }
}

#[test]
fn history_without_a_price_or_of_too_many_slots_is_refused() {
    let one = file(&[(0, "100"), (60, "100")]);
    assert!(matches!(import(&[&one], 2).bodies(), Err(ImportError::NoPrice(2))));
    let long = file(&[(-60 * 600_000, "1"), (0, "1")]);
    assert!(matches!(import(&[&long], 1).bodies(), Err(ImportError::TooLong(600_001))));
}

#[test]
fn the_current_slot_is_not_imported() {
    let rows = file(&[(86_280, "1"), (86_340, "2"), (86_400, "3")]);
    assert_eq!(results(&import(&[&rows], 1)), words(&[(86_280, "1"), (86_340, "2")]));
}

#[test]
fn contents_count_every_slot() {
    let rows = file(&[(0, "1"), (600, "2")]);
    let contents = Contents::of(&import(&[&rows], 1).bodies().unwrap()).unwrap();
    assert_eq!((contents.ticks, contents.gaps), (2, 9));
    assert_eq!((contents.first.start(), contents.last.start()), (at(0), at(600)));
}
