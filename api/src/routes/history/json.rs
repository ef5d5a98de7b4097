//! The JSON of history, written directly.
//!
//! A page has thousands of values, and the serializer of `serde_json` takes more than twice as long for them, because
//! it looks for characters to escape. There are none in times, prices and cursors.

use std::fmt::{Display, Write};

use crate::dto::{History, Json};
use ledger::window::WindowTick;

/// The length of an item in most pages, for the capacity of the buffer.
const ITEM_BYTES: usize = 96;

/// Writes a page as the serializer would write it.
pub(super) fn json(ticks: &[WindowTick], next_cursor: Option<&str>) -> Json<History> {
    let mut json = String::with_capacity(ITEM_BYTES * (ticks.len() + 1));
    json.push_str("{\"items\":[");
    for (place, WindowTick { point, sequence }) in ticks.iter().enumerate() {
        json.push_str(if place == 0 { "{\"slot\":\"" } else { ",{\"slot\":\"" });
        write(&mut json, point.slot.start());
        json.push_str("\",\"price\":\"");
        write(&mut json, point.price);
        json.push_str("\",\"sequence\":");
        write(&mut json, sequence.0);
        json.push_str(if point.backfilled { ",\"backfilled\":true}" } else { ",\"backfilled\":false}" });
    }
    json.push_str("],\"next_cursor\":");
    match next_cursor {
        Some(cursor) => write(&mut json, format_args!("\"{cursor}\"")),
        None => json.push_str("null"),
    }
    json.push('}');
    Json::written(json)
}

fn write(json: &mut String, value: impl Display) {
    // Writing to memory does not fail.
    let _ = write!(json, "{value}");
}

#[cfg(test)]
mod tests {
    use common::domain::{Interval, Sequence, Timestamp};
    use ledger::summary::Point;
    use poem::IntoResponse;

    use super::*;
    use crate::{dto::Nullable, routes::history::item};

    #[tokio::test]
    async fn a_page_is_written_as_the_serializer_writes_it() {
        let interval: Interval = "10s".parse().unwrap();
        let tick = |(price, sequence): (&str, u64)| {
            let slot = interval.slot_at(Timestamp::from_unix_millis(1_700_000_000_000).unwrap());
            let (price, backfilled) = (price.parse().unwrap(), sequence % 2 == 0);
            let point = Point { slot, interval, price, backfilled };
            WindowTick { point, sequence: Sequence(sequence) }
        };
        let ticks = [("97012.30", 1), ("0.00000000000001", 2), ("999999999999", u64::MAX)].map(tick);
        for (count, cursor) in [(0, None), (1, None), (3, Some("d1700000000000"))] {
            let items = ticks[..count].iter().copied().map(item).collect();
            let page = History { items, next_cursor: Nullable(cursor.map(str::to_owned)) };
            let written = json(&ticks[..count], cursor).into_response().into_body();
            assert_eq!(written.into_string().await.unwrap(), serde_json::to_string(&page).unwrap());
        }
    }
}
