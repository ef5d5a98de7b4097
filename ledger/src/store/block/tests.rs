//! Blocks are compared with the ticks that were added.

use common::domain::Span;
use proptest::prelude::*;

use super::*;

prop_compose! {
    /// How a tick differs from the one before: later slots, sequences and epochs, and its price.
    fn step()(slots in prop_oneof![8 => Just(1_u64), 2 => 1_u64..300], positions in 1_u64..1_000,
              epochs in prop_oneof![9 => Just(0_u64), 1 => 0_u64..u64::from(u32::MAX)],
              mantissa in prop_oneof![3 => 9_000_000_i128..9_100_000, 1 => 1_i128..10_000_000_000_000],
              places in prop_oneof![4 => Just(2_u32), 1 => 0_u32..=14]) -> (u64, u64, u64, Price) {
        let price = Decimal::try_from_i128_with_scale(mantissa, places).unwrap();
        (slots, positions, epochs, Price::new(price).unwrap_or("1".parse().unwrap()))
    }
}

fn ticks_of(interval: Interval, steps: &[(u64, u64, u64, Price)]) -> Vec<StoredTick> {
    let (mut slot, mut sequence, mut epoch) =
        (interval.slot_at("2026-11-21T00:00:00Z".parse().unwrap()), 0, 7);
    let tick = |(slots, positions, epochs, price): &(u64, u64, u64, Price)| {
        slot =
            interval.slot(slot.start().plus(interval.duration() * u32::try_from(*slots).unwrap())).unwrap();
        (sequence, epoch) = (sequence + positions, epoch + epochs);
        let (sequence, epoch, backfilled) = (Sequence(sequence), Epoch(epoch), sequence % 3 == 0);
        StoredTick { slot, interval, price: *price, sequence, epoch, backfilled }
    };
    steps.iter().map(tick).collect()
}

proptest! {
    #[test]
    fn ticks_are_read_back_and_a_block_can_be_resumed(
        steps in prop::collection::vec(step(), 1..400),
        cut in 1_usize..400,
        millis in prop::sample::select(vec![100_u64, 10_000, 86_400_000]),
    ) {
        let interval = Interval::new(Span::from_millis(millis).unwrap()).unwrap();
        let all = ticks_of(interval, &steps);
        let mut block = Block::begin(&all[0]);
        let mut taken = 1;
        for tick in &all[1..] {
            if taken == cut {
                // As after a restart.
                block = Block::resume(block.start().start(), block.bytes()).unwrap();
            }
            if !block.push(tick) {
                break;
            }
            taken += 1;
        }
        let fitting = all.iter().take_while(|tick| {
            let slots = (tick.slot.start().unix_millis() - all[0].slot.start().unix_millis()).unsigned_abs() / millis;
            slots < 256
        });
        prop_assert_eq!(taken, fitting.count());
        prop_assert_eq!(block.last(), all[taken - 1].sequence);
        prop_assert_eq!(ticks(all[0].slot.start(), block.bytes()).unwrap(), &all[..taken]);
    }

    #[test]
    fn damaged_bytes_are_refused_or_decode_to_ticks_in_order(
        steps in prop::collection::vec(step(), 1..50),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
        keep in any::<prop::sample::Index>(),
    ) {
        let all = ticks_of("10s".parse().unwrap(), &steps);
        let mut block = Block::begin(&all[0]);
        all[1..].iter().all(|tick| block.push(tick));
        let mut bytes = block.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        bytes.truncate(keep.index(bytes.len() + 1));
        if let Some(read) = ticks(all[0].slot.start(), &bytes) {
            prop_assert!(read.len() <= 256);
            prop_assert!(read.is_sorted_by(|one, next| one.slot < next.slot && one.sequence <= next.sequence));
        }
    }
}

#[test]
fn a_usual_tick_takes_a_few_bytes() {
    let interval = "10s".parse().unwrap();
    let price =
        |number: u64| Price::new(Decimal::new(9_701_234 + i64::try_from(number * 7_919 % 2_000).unwrap(), 2));
    let steps: Vec<_> = (0..256).map(|number| (1, 2, 0, price(number).unwrap())).collect();
    let all = ticks_of(interval, &steps);
    let mut block = Block::begin(&all[0]);
    assert!(all[1..].iter().all(|tick| block.push(tick)));
    assert!(block.bytes().len() <= 256 * 4 + 16, "{}", block.bytes().len());
}
