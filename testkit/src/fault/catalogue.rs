//! Every fault with a line of meaning, for people and for tests that go through all of them.

use super::{Fault, Status};

/// A fault as the catalogue shows it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// How it is written; capitals stand for a value.
    pub form: &'static str,
    /// One of its kind, written out.
    pub example: &'static str,
    /// What the venue does.
    pub meaning: &'static str,
    /// The fault itself, where it needs no value.
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

/// All faults, in the order of what they break: status, connection, body, price, the venue's own words.
#[must_use]
pub const fn catalogue() -> &'static [Entry] {
    &CATALOGUE
}

const CATALOGUE: [Entry; 37] = [
    status("403", Status::Forbidden, "forbidden"),
    status("418", Status::Banned, "banned"),
    status("429", Status::TooMany, "too many requests, without a word about when to come back"),
    with_value("STATUS:SECONDS", "429:30", "any of the statuses, with Retry-After in seconds"),
    with_value(
        "STATUS:date:SECONDS",
        "429:date:30",
        "any of the statuses, with Retry-After as a date so far ahead",
    ),
    status("451", Status::Elsewhere, "not available in this place"),
    status("500", Status::Broken, "broken"),
    status("503", Status::Unavailable, "unavailable"),
    plain("hang", Fault::Hang, "accepts the request and never answers"),
    with_value("slow:SECONDS", "slow:2", "answers after so many seconds"),
    plain("drip", Fault::Drip, "sends a byte every tenth of a second, for ever"),
    plain("reset", Fault::Reset, "resets the connection in the middle of the body"),
    plain("close", Fault::Close, "closes the connection without an answer"),
    plain("short", Fault::Short, "announces a longer body than it sends, and closes"),
    plain("long", Fault::Long, "announces a shorter body than it sends"),
    plain("redirect", Fault::Redirect, "redirects to http://169.254.169.254/"),
    plain("endless", Fault::Endless, "sends a body without an end"),
    plain("bomb", Fault::Bomb, "sends a small gzip body that unpacks to more than 64 MiB"),
    plain("html", Fault::Html, "sends a page for people, with status 200"),
    plain("deep", Fault::Deep, "sends JSON of 100,000 nested lists"),
    plain("garbage", Fault::Garbage, "sends bytes that are no UTF-8"),
    plain("cut", Fault::Cut, "sends half of its true body as if that were all"),
    plain("empty", Fault::Empty, "says, with status 200 and in its own form, that there is nothing"),
    plain("nan", Fault::Nan, "every price is NaN"),
    plain("infinite", Fault::Infinite, "every price is Infinity"),
    plain("huge", Fault::Huge, "every price is 1e400"),
    plain("zero", Fault::Zero, "every price is 0"),
    plain("negative", Fault::Negative, "every price is below zero"),
    plain("text", Fault::Text, "every price is a word"),
    with_value("times:FACTOR", "times:100", "every price is so many times the true one"),
    plain("stuck", Fault::Stuck, "prices and times stay what they were when the fault began"),
    with_value("late:SECONDS", "late:600", "the time of every price is so many seconds old"),
    with_value("early:SECONDS", "early:600", "the time of every price lies so many seconds ahead"),
    plain("wrong_pair", Fault::WrongPair, "answers about another pair than it was asked for"),
    plain("swapped", Fault::Swapped, "gives each pair the price of another one"),
    plain("error", Fault::Error, "fails in its own words, within HTTP 200 where that is its way"),
    plain("limited", Fault::Limited, "says in its own words that it was asked too often"),
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
