//! Events and the state of the connection as text, for lines and for the table.

use common::{
    domain::{Origin, Price, Words},
    text::one_line,
};
use tokio::time::Instant;

use super::{
    event::{Body, Event},
    state::{Connection, Shown},
};

/// The length of a reason, in characters, beyond which it is cut off, so that the line can be read at a glance.
const MAX_REASON: usize = 100;

/// An event on one line.
pub(super) fn line(shown: &Shown) -> String {
    let event = &shown.event;
    let mut parts = vec![event.slot.to_string(), event.pair.to_string()];
    match &event.body {
        Body::Tick(price) => {
            parts.push(price.to_string());
            parts.extend(Some(change(shown.before, *price)).filter(|change| !change.is_empty()));
        }
        Body::Gap { from, cause } => {
            parts.push(format!("gap {} from {from}", one_line(cause)));
            parts.extend(shown.never.then(|| "there has been no price yet".to_owned()));
        }
    }
    parts.extend(label(event));
    parts.join(" ")
}

/// The state of the connection.
pub(super) fn connection(connection: &Connection, now: Instant) -> String {
    match connection {
        Connection::Beginning => "connecting".to_owned(),
        Connection::Connected { url } => format!("connected to {url}"),
        Connection::Lost { why, next, until } => {
            let why: String = one_line(why).chars().take(MAX_REASON).collect();
            let left = until.saturating_duration_since(now);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            format!("not connected; next try in {seconds}s at {next}; reason: {why}")
        }
    }
}

/// The change from the previous price, with an arrow and a sign.
pub(super) fn change(before: Option<Price>, price: Price) -> String {
    let Some(before) = before else { return String::new() };
    let difference = price.decimal() - before.decimal();
    match before.cmp(&price) {
        std::cmp::Ordering::Less => format!("▲ +{difference}"),
        std::cmp::Ordering::Greater => format!("▼ −{}", difference.abs()),
        std::cmp::Ordering::Equal => "= 0".to_owned(),
    }
}

/// The label of prices that are not live.
pub(super) fn label(event: &Event) -> Option<String> {
    (event.origin != Origin::Live.as_str()).then(|| one_line(&event.origin))
}

/// Whether the age of the event can be measured with the clock. A recording has its own time.
pub(super) fn is_of_now(event: &Event) -> bool {
    event.origin != Origin::Replay.as_str()
}
