//! How an event is written.

use common::{
    bus::LogIdentity,
    domain::{Interval, Slot},
};
use poem_openapi::types::ToJSON;

use crate::dto::{EventItem, PairText, PriceText, SpanText, TimeText};
use ledger::{
    events::{Event, Frame},
    store::Covering,
};

/// An event of a log, written out.
pub(super) fn frame<'a>(event: &'a Event, log: &LogIdentity) -> &'a Frame {
    event.frame(|event| {
        let item = item(event, log);
        Frame::new(&item.id, &item.kind, &item.to_json_string())
    })
}

fn item(event: &Event, log: &LogIdentity) -> EventItem {
    let common = |kind: &str, slot: Slot, interval: Interval| EventItem {
        id: format!("{log}-{}", event.position),
        kind: kind.to_owned(),
        pair: PairText(event.pair()),
        sequence: None,
        slot: TimeText(slot.start()),
        from: None,
        interval: SpanText(interval.span()),
        epoch: None,
        origin: event.origin.to_string(),
        price: None,
        cause: None,
    };
    match event.covering {
        Covering::Tick(_, tick) => EventItem {
            sequence: Some(tick.sequence.0),
            epoch: Some(tick.epoch.0),
            price: Some(PriceText(tick.price)),
            ..common("tick", tick.slot, tick.interval)
        },
        Covering::Gap(_, gap) => EventItem {
            sequence: gap.recorded.map(|(sequence, _)| sequence.0),
            epoch: gap.recorded.map(|(_, epoch)| epoch.0),
            from: Some(TimeText(gap.from.start())),
            cause: Some(gap.cause.to_string()),
            ..common("gap", gap.slot, gap.interval)
        },
    }
}
