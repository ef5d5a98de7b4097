//! Compares windows with one simple pass over all of their ticks, which uses `Decimal` and merges nothing.

use std::time::Duration;

use common::domain::{Interval, Price};
use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};

use super::*;

fn interval() -> Interval {
    "10s".parse().unwrap()
}

fn slot(index: i64) -> Slot {
    interval().slot(Timestamp::from_unix_millis(index * 10_000).unwrap()).unwrap()
}

/// Rounded to 8 decimal places, or to as many more as show twelve significant digits.
fn half_even(value: Decimal) -> Decimal {
    let (mut places, mut bound) = (8, Decimal::ONE_THOUSAND);
    while !value.is_zero() && value.abs() < bound && places < 28 {
        (places, bound) = (places + 1, bound / Decimal::TEN);
    }
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven)
}

/// Ticks with increasing slots. Most are one slot apart, some have gaps between them.
fn ticks() -> impl Strategy<Value = Vec<Point>> {
    let step = prop_oneof![8 => Just(1_i64), 2 => 2_i64..4, 1 => 4_i64..200];
    prop::collection::vec((step, 1_i64..1_000_000_000, 0_u32..7), 1..600).prop_map(|steps| {
        let mut index = 10_000;
        let point = |(step, mantissa, scale)| {
            index += step;
            let price = Price::new(Decimal::new(mantissa, scale)).unwrap();
            Point { slot: slot(index), interval: interval(), price, backfilled: false }
        };
        steps.into_iter().map(point).collect()
    })
}

/// A tick whose sequence is the number of its slot.
fn tick(point: &Point) -> WindowTick {
    let number = point.slot.start().unix_millis() / 10_000;
    WindowTick { point: *point, sequence: Sequence(number.unsigned_abs()) }
}

fn window(ticks: &[Point]) -> Window {
    ticks.iter().fold(Window::default(), |window, point| window.push(tick(point)))
}

struct Naive {
    mean: Decimal,
    twap: Decimal,
    min: Decimal,
    max: Decimal,
    coverage: Decimal,
    largest_gap: Duration,
    change_ratio: Decimal,
}

fn naive(ticks: &[Point], from: i64, to: i64) -> Naive {
    let at = |point: &Point| point.slot.start().unix_millis();
    let prices: Vec<Decimal> = ticks.iter().map(|point| point.price.decimal()).collect();
    let sum: Decimal = prices.iter().sum();
    let (mut weighted, mut weight) = (Decimal::ZERO, 0);
    for (index, point) in ticks.iter().enumerate() {
        let distance = ticks.get(index + 1).map_or(10_000, |next| at(next) - at(point));
        let standing = if distance <= 30_000 { distance } else { 10_000 };
        weighted += point.price.decimal() * Decimal::from(standing);
        weight += standing;
    }
    // Between two neighbouring ticks, or a tick and an edge of the window, one interval may pass without a gap.
    let mut posts = vec![from];
    posts.extend(ticks.iter().map(at));
    posts.push(to + 10_000);
    let largest_gap = posts.windows(2).map(|two| two[1] - two[0] - 10_000).max().unwrap();
    let largest_gap = Duration::from_millis(largest_gap.cast_unsigned());
    Naive {
        mean: half_even(sum / Decimal::from(prices.len())),
        twap: half_even(weighted / Decimal::from(weight)),
        min: *prices.iter().min().unwrap(),
        max: *prices.iter().max().unwrap(),
        coverage: half_even(Decimal::from(ticks.len() * 10_000) / Decimal::from(to - from)),
        largest_gap,
        change_ratio: half_even((prices[prices.len() - 1] - prices[0]) / prices[0]),
    }
}

proptest! {
    #[test]
    fn every_window_equals_a_naive_pass(ticks in ticks(), span in 1_i64..3_000, back in 0_i64..100) {
        let window = window(&ticks);
        let to = ticks.last().unwrap().slot.start().unix_millis() - back * 10_000;
        let from = to - span * 10_000;
        let inside: Vec<Point> = ticks
            .iter()
            .copied()
            .filter(|point| (from + 1..=to).contains(&point.slot.start().unix_millis()))
            .collect();
        let (from_slot, to_slot) = (slot(from / 10_000), slot(to / 10_000));
        let found = window.summarize(from_slot.start(), to_slot);
        prop_assert_eq!(found.is_some(), !inside.is_empty());
        if let Some(found) = found {
            let naive = naive(&inside, from, to);
            prop_assert_eq!(found.count, inside.len() as u64);
            prop_assert_eq!(found.mean(), naive.mean);
            prop_assert_eq!(found.twap(), naive.twap);
            prop_assert_eq!(found.min.price.decimal(), naive.min);
            prop_assert_eq!(found.max.price.decimal(), naive.max);
            prop_assert_eq!(found.first, inside[0]);
            prop_assert_eq!(found.last, inside[inside.len() - 1]);
            prop_assert_eq!(found.coverage(Duration::from_millis((to - from).cast_unsigned())), naive.coverage);
            prop_assert_eq!(found.largest_gap(from_slot.start(), to_slot.start()), naive.largest_gap);
            prop_assert_eq!(found.change_ratio(), Some(naive.change_ratio));
        }
    }

    #[test]
    fn the_visited_ticks_are_those_of_the_range_in_both_directions(
        ticks in ticks(), from in 9_900_i64..12_000, length in 0_i64..3_000, limit in 1_usize..700,
    ) {
        let window = window(&ticks);
        let (from, to) = (slot(from).start(), slot(from + length).start());
        let in_range = |point: &&Point| point.slot.start() > from && point.slot.start() <= to;
        let forward: Vec<WindowTick> = ticks.iter().filter(in_range).map(tick).take(limit).collect();
        let back: Vec<WindowTick> = ticks.iter().rev().filter(in_range).map(tick).take(limit).collect();
        let visited = |is_back: bool| {
            let mut visited = Vec::new();
            let mut each = |tick: &WindowTick| {
                visited.push(*tick);
                if visited.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            if is_back { window.visit_back(from, to, &mut each) } else { window.visit(from, to, &mut each) }
            visited
        };
        prop_assert_eq!(visited(false), forward);
        prop_assert_eq!(visited(true), back);
    }

    #[test]
    fn summaries_merge_in_any_grouping(ticks in ticks(), cut in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let mut cuts = [cut.0.index(ticks.len()), cut.1.index(ticks.len())];
        cuts.sort_unstable();
        let part = |range: &[Point]| {
            range.iter().map(|point| Summary::of(*point)).reduce(|one, other| one.merge(&other))
        };
        let parts = (part(&ticks[..cuts[0]]), part(&ticks[cuts[0]..cuts[1]]), part(&ticks[cuts[1]..]));
        if let (Some(a), Some(b), Some(c)) = parts {
            let left = a.merge(&b).merge(&c);
            prop_assert_eq!(left, a.merge(&b.merge(&c)));
            prop_assert_eq!(Some(left), part(&ticks));
        }
    }

    #[test]
    fn dropping_old_ticks_changes_no_later_window(ticks in ticks(), keep in 1_i64..300) {
        let keeping = |window: Window, point: &Point| {
            let cutoff = point.slot.start().minus(Duration::from_secs(keep.unsigned_abs() * 10));
            window.push(tick(point)).without_before(cutoff)
        };
        let kept = ticks.iter().fold(Window::default(), keeping);
        let all = window(&ticks);
        let to = ticks.last().unwrap().slot;
        let from = to.start().minus(Duration::from_secs(keep.unsigned_abs() * 10));
        prop_assert_eq!(kept.summarize(from, to), all.summarize(from, to));
    }

    #[test]
    fn an_older_window_is_not_changed_by_newer_ticks(ticks in ticks(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(ticks.len());
        let early = window(&ticks[..cut]);
        let to = ticks.last().unwrap().slot;
        let before = early.summarize(Timestamp::EPOCH, to);
        let _late = ticks[cut..].iter().fold(early.clone(), |window, point| window.push(tick(point)));
        prop_assert_eq!(early.summarize(Timestamp::EPOCH, to), before);
    }
}

#[test]
fn the_tree_of_a_long_run_stays_shallow_and_small() {
    fn depth(node: &Node) -> usize {
        match &node.children {
            Children::Ticks(_) => 1,
            Children::Nodes(nodes) => 1 + nodes.first().map_or(0, |node| depth(node)),
        }
    }
    fn held(node: &Node) -> usize {
        match &node.children {
            Children::Ticks(ticks) => ticks.len(),
            Children::Nodes(nodes) => nodes.iter().map(|node| held(node)).sum(),
        }
    }
    let price: Price = "1.5".parse().unwrap();
    let mut window = Window::default();
    for index in 0..50_000 {
        let point = Point { slot: slot(index), interval: interval(), price, backfilled: false };
        window =
            window.push(tick(&point)).without_before(slot(index).start().minus(Duration::from_secs(86_400)));
    }
    let root = window.root.as_ref().unwrap();
    assert!(depth(root) <= 5, "{}", depth(root));
    assert!((8_641..8_641 + 16 * 16 * 16).contains(&held(root)), "{}", held(root));
}
