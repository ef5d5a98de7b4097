//! A list of all faults with descriptions, for people and for tests of all faults.

use super::{Fault, Status};

/// A fault in the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The syntax. Capitals stand for a value.
    pub form: &'static str,
    /// An example.
    pub example: &'static str,
    /// What the venue does.
    pub meaning: &'static str,
    /// The fault itself, if it needs no value.
    pub(super) fault: Option<Fault>,
}

const fn plain(form: &'static str, fault: Fault, meaning: &'static str) -> Entry {
    Entry { form, example: form, meaning, fault: Some(fault) }
}

const fn with_value(form: &'static str, example: &'static str, meaning: &'static str) -> Entry {
    Entry { form, example, meaning, fault: None }
}

const fn status(form: &'static str, status: Status, meaning: &'static str) -> Entry {
    plain(form, Fault::Status(status, None), meaning)
}

/// All faults, by what they affect: status, connection, body, price, the venue's own error responses.
#[must_use]
pub const fn catalogue() -> &'static [Entry] {
    &CATALOGUE
}

const CATALOGUE: [Entry; 37] = [
    status("403", Status::Forbidden, "forbidden"),
    status("418", Status::Banned, "banned"),
    status("429", Status::TooMany, "too many requests, without Retry-After"),
    with_value("STATUS:SECONDS", "429:30", "any of the statuses, with Retry-After in seconds"),
    with_value(
        "STATUS:date:SECONDS",
        "429:date:30",
        "any of the statuses, with Retry-After as a date this many seconds ahead",
    ),
    status("451", Status::Elsewhere, "not available in this country"),
    status("500", Status::Broken, "internal error"),
    status("503", Status::Unavailable, "unavailable"),
    plain("hang", Fault::Hang, "accepts the request and never responds"),
    with_value("slow:SECONDS", "slow:2", "responds after this many seconds"),
    plain("drip", Fault::Drip, "sends one byte every tenth of a second, without an end"),
    plain("reset", Fault::Reset, "resets the connection in the middle of the body"),
    plain("close", Fault::Close, "closes the connection without a response"),
    plain("short", Fault::Short, "announces a longer body than it sends, and closes the connection"),
    plain("long", Fault::Long, "announces a shorter body than it sends"),
    plain("redirect", Fault::Redirect, "redirects to http://169.254.169.254/"),
    plain("endless", Fault::Endless, "sends a body without an end"),
    plain("bomb", Fault::Bomb, "sends a small gzip body that decompresses to more than 64 MiB"),
    plain("html", Fault::Html, "sends an HTML page with status 200"),
    plain("deep", Fault::Deep, "sends JSON with 100,000 nested lists"),
    plain("garbage", Fault::Garbage, "sends bytes that are not UTF-8"),
    plain("cut", Fault::Cut, "sends half of the correct body as if it were complete"),
    plain(
        "empty",
        Fault::Empty,
        "sends a response of the normal form, with status 200, but without any prices",
    ),
    plain("nan", Fault::Nan, "every price is NaN"),
    plain("infinite", Fault::Infinite, "every price is Infinity"),
    plain("huge", Fault::Huge, "every price is 1e400"),
    plain("zero", Fault::Zero, "every price is 0"),
    plain("negative", Fault::Negative, "every price is below zero"),
    plain("text", Fault::Text, "every price is a word"),
    with_value("times:FACTOR", "times:100", "every price is multiplied by this factor"),
    plain("stuck", Fault::Stuck, "prices and times stay what they were when the fault began"),
    with_value("late:SECONDS", "late:600", "the time of every price is this many seconds in the past"),
    with_value("early:SECONDS", "early:600", "the time of every price is this many seconds in the future"),
    plain("wrong_pair", Fault::WrongPair, "returns another pair than the requested one"),
    plain("swapped", Fault::Swapped, "gives each pair the price of another one"),
    plain(
        "error",
        Fault::Error,
        "returns the venue's own error response, with HTTP 200 if the venue does that",
    ),
    plain("limited", Fault::Limited, "returns the venue's own response to too many requests"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Venue;

    #[test]
    fn every_example_parses_back_and_is_there_once() {
        for entry in catalogue() {
            let fault: Fault = entry.example.parse().unwrap();
            assert_eq!(fault.to_string(), entry.example);
            assert!(entry.fault.is_none_or(|own| own == fault), "{entry:?}");
            assert!(Venue::ALL.into_iter().any(|venue| fault.applies_to(venue)), "{entry:?}");
        }
        let forms: BTreeSet<&str> = catalogue().iter().map(|entry| entry.form).collect();
        assert_eq!(forms.len(), catalogue().len());
    }

    #[test]
    fn a_fault_that_would_change_nothing_does_not_apply() {
        let late: Fault = "late:600".parse().unwrap();
        let timed: Vec<Venue> = Venue::ALL.into_iter().filter(|venue| late.applies_to(*venue)).collect();
        assert_eq!(timed, [Venue::Coinbase, Venue::Bitstamp, Venue::Coingecko]);
        assert!(!Fault::WrongPair.applies_to(Venue::Coinbase));
    }
}
