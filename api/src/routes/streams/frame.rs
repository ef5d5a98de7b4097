//! Encodes events as JSON.

use crate::dto::{
    EventItem, GapEvent, GapKind, PairText, PriceText, SpanText, TickEvent, TickKind, TimeText, Word,
};
use common::bus::LogIdentity;
use ledger::{
    events::{Event, Frame},
    store::TickOrGap,
};

/// The bytes of an event, which are created once for all clients.
pub(super) fn frame<'a>(event: &'a Event, log: &LogIdentity) -> &'a Frame {
    event.frame(|event| {
        let item = item(event, log);
        let (id, kind) = item.id_and_kind();
        // This cannot fail, because strings and numbers can be serialized.
        let json = serde_json::to_string(&item).unwrap_or_default();
        Frame::new(id, kind, &json)
    })
}

fn item(event: &Event, log: &LogIdentity) -> EventItem {
    let id = format!("{log}-{}", event.position);
    let (pair, origin) = (PairText(event.pair()), Word(event.origin));
    let backfilled = event.tick_or_gap.is_backfilled().then_some(true);
    match event.tick_or_gap {
        TickOrGap::Tick(_, tick) => EventItem::Tick(TickEvent {
            id,
            kind: TickKind,
            pair,
            sequence: tick.sequence.0,
            slot: TimeText(tick.slot.start()),
            interval: SpanText(tick.interval.span()),
            epoch: tick.epoch.0,
            origin,
            price: PriceText(tick.price),
            backfilled,
        }),
        TickOrGap::Gap(_, gap) => EventItem::Gap(GapEvent {
            id,
            kind: GapKind,
            pair,
            sequence: gap.recorded.map(|(sequence, _)| sequence.0).into(),
            slot: TimeText(gap.slot.start()),
            from: TimeText(gap.from.start()),
            interval: SpanText(gap.interval.span()),
            epoch: gap.recorded.map(|(_, epoch)| epoch.0).into(),
            origin,
            cause: Word(gap.cause),
            backfilled,
        }),
    }
}
