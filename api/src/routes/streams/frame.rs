//! Encodes events as JSON.

use crate::dto::{EventItem, Nullable, PairText, PriceText, SpanText, TimeText};
use common::{
    bus::LogIdentity,
    domain::{Interval, Slot},
};
use ledger::{
    events::{Event, Frame},
    store::TickOrGap,
};

/// The bytes of an event, which are created once for all clients.
pub(super) fn frame<'a>(event: &'a Event, log: &LogIdentity) -> &'a Frame {
    event.frame(|event| {
        let item = item(event, log);
        // This cannot fail, because strings and numbers can be serialized.
        let json = serde_json::to_string(&item).unwrap_or_default();
        Frame::new(&item.id, &item.kind, &json)
    })
}

fn item(event: &Event, log: &LogIdentity) -> EventItem {
    let common = |kind: &str, slot: Slot, interval: Interval| EventItem {
        id: format!("{log}-{}", event.position),
        kind: kind.to_owned(),
        pair: PairText(event.pair()),
        sequence: Nullable(None),
        slot: TimeText(slot.start()),
        from: None,
        interval: SpanText(interval.span()),
        epoch: Nullable(None),
        origin: event.origin.to_string(),
        price: None,
        cause: None,
        backfilled: event.tick_or_gap.is_backfilled().then_some(true),
    };
    match event.tick_or_gap {
        TickOrGap::Tick(_, tick) => EventItem {
            sequence: Nullable(Some(tick.sequence.0)),
            epoch: Nullable(Some(tick.epoch.0)),
            price: Some(PriceText(tick.price)),
            ..common("tick", tick.slot, tick.interval)
        },
        TickOrGap::Gap(_, gap) => EventItem {
            sequence: gap.recorded.map(|(sequence, _)| sequence.0).into(),
            epoch: gap.recorded.map(|(_, epoch)| epoch.0).into(),
            from: Some(TimeText(gap.from.start())),
            cause: Some(gap.cause.to_string()),
            ..common("gap", gap.slot, gap.interval)
        },
    }
}
