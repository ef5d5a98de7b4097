//! Computes from the log what a pod must return at a sequence.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::oracle;
use crate::records::{self, Record, Span, time_text};

/// The windows of [`Question::Averages`], from one slot to longer than any run.
pub(super) const WINDOWS: &str = "1s,2s,3s,5s,7s,15s,1m,10m,1h,1d";

/// The maximum number of items in a response.
pub(super) const PAGE: usize = 10_000;

/// The interval of slots that were backfilled.
const MINUTE_MS: i64 = 60_000;

/// A request about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Price,
    Averages,
    History,
    Gaps,
}

impl Question {
    pub(super) const ALL: [Self; 4] = [Self::Price, Self::Averages, Self::History, Self::Gaps];

    pub(super) fn path(self, pair: &str) -> String {
        let base = format!("/v1/prices/{pair}");
        match self {
            Self::Price => base,
            Self::Averages => format!("{base}/averages?window={WINDOWS}"),
            Self::History => format!("{base}/history?limit={PAGE}"),
            Self::Gaps => format!("{base}/gaps?order=asc&limit={PAGE}"),
        }
    }

    /// Compares the body of a successful response with the records up to its sequence.
    pub(super) fn check(self, pair: &str, records: &[Record], body: &[u8]) -> anyhow::Result<()> {
        let answer: Value = serde_json::from_slice(body)?;
        let wrong = match self {
            Self::Price => price(pair, records, &answer),
            Self::Averages => averages(pair, records, &answer),
            Self::History => history(pair, records, &answer),
            Self::Gaps => gaps(pair, records, &answer),
        };
        wrong.with_context(|| {
            let shown: String = answer.to_string().chars().take(2_000).collect();
            format!("{self:?} of {pair} after {} records: {shown}", records.len())
        })
    }
}

fn price(pair: &str, records: &[Record], answer: &Value) -> anyhow::Result<()> {
    let of_pair = |record: &&Record| record.pair == pair && record.is_tick();
    let newest = records.iter().rfind(of_pair).context("the pod returned a price, but the log has none")?;
    let sources: Vec<&str> = newest.used().into_iter().map(|quote| quote.source.as_str()).collect();
    let expected = json!({
        "pair": pair,
        "price": newest.price,
        "slot": newest.slot.map(|slot| time_text(slot.0)),
        "sequence": newest.sequence,
        "epoch": newest.epoch,
        "sources": sources,
    });
    has(answer, &expected)
}

fn averages(pair: &str, records: &[Record], answer: &Value) -> anyhow::Result<()> {
    let of_pair = |record: &&Record| record.pair == pair && record.slot.is_some();
    let newest =
        records.iter().rfind(of_pair).context("the pod returned averages, but the log has no slot")?;
    let to = newest.slot.context("a slot")?.0;
    has(answer, &json!({"as_of": time_text(to), "sequence": newest.sequence}))?;
    let points = records::points(records, pair);
    let windows = answer.get("windows").and_then(Value::as_array).context("no windows")?;
    ensure!(windows.len() == WINDOWS.split(',').count(), "{} windows", windows.len());
    for (window, span) in windows.iter().zip(WINDOWS.split(',')) {
        let span = Span::try_from(span.to_owned()).map_err(anyhow::Error::msg)?.0;
        has(window, &json!({"from": time_text(to - span), "to": time_text(to)}))?;
        has(window, &oracle::window(&points, to, span, newest.interval()))?;
    }
    Ok(())
}

/// Checks the ticks, newest first, up to one page.
fn history(pair: &str, records: &[Record], answer: &Value) -> anyhow::Result<()> {
    let items = items(answer)?;
    let points = records::points(records, pair);
    ensure!(items.len() == points.len().min(PAGE), "{} ticks instead of {}", items.len(), points.len());
    for (item, point) in items.iter().zip(points.iter().rev()) {
        let expected =
            json!({"slot": time_text(point.slot), "price": point.price, "sequence": point.sequence});
        has(item, &expected)?;
    }
    Ok(())
}

/// Checks the gaps, oldest first, up to one page.
fn gaps(pair: &str, records: &[Record], answer: &Value) -> anyhow::Result<()> {
    let (items, expected) = (items(answer)?, oracle::gaps(records, pair));
    ensure!(items.len() == expected.len().min(PAGE), "{} gaps instead of {}", items.len(), expected.len());
    items.iter().zip(&expected).try_for_each(|(item, expected)| has(item, expected))
}

/// Checks that every slot, or minute of the past, from the first to the newest is in exactly one item of the history or of the gaps.
pub(super) fn covered_once(history: &[u8], gaps: &[u8], interval: Duration) -> anyhow::Result<()> {
    let interval = i64::try_from(interval.as_millis())?;
    let mut slots = Vec::new();
    for (body, first, last) in [(history, "slot", "slot"), (gaps, "from", "to")] {
        let answer: Value = serde_json::from_slice(body)?;
        let items = items(&answer)?;
        ensure!(items.len() < PAGE, "more slots than one response can have");
        for item in items {
            let time = |name: &str| item.get(name).and_then(Value::as_str).and_then(records::time);
            let (first, last) = time(first).zip(time(last)).with_context(|| format!("no slots: {item}"))?;
            let is_past = item.get("backfilled") == Some(&Value::Bool(true));
            slots.push((first, last, is_past));
        }
    }
    slots.sort_unstable();
    for (before, after) in slots.iter().zip(slots.iter().skip(1)) {
        let text =
            |(first, last, _): &(i64, i64, bool)| format!("{} to {}", time_text(*first), time_text(*last));
        // The last item of the past is the gap up to the first live slot, which has the interval of the feed.
        let follows = after.0 == before.1 + interval || (after.2 && after.0 == before.1 + MINUTE_MS);
        ensure!(follows, "{} is followed by {}", text(before), text(after));
    }
    Ok(())
}

fn items(answer: &Value) -> anyhow::Result<&Vec<Value>> {
    answer.get("items").and_then(Value::as_array).context("no items")
}

/// Checks that a value is as expected. Objects may have additional members.
pub(super) fn has(found: &Value, expected: &Value) -> anyhow::Result<()> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().try_for_each(|(member, expected)| {
                let found = found.get(member).unwrap_or(&Value::Null);
                has(found, expected).with_context(|| member.clone())
            })
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).try_for_each(|(found, expected)| has(found, expected))
        }
        _ => {
            ensure!(found == expected, "{found} must be {expected}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(sequence: u64, slot: i64, price: &str) -> Record {
        let text = json!({
            "sequence": sequence, "kind": "tick", "pair": "BTC-USD", "slot": time_text(slot), "interval": "1s",
            "epoch": 1, "origin": "live", "price": price,
            "policy": {"price": "mid", "min_sources": 1, "max_deviation": "0.02", "max_quote_age": "30s"},
            "quotes": [{"source": "kraken", "price": price, "basis": "last", "last": price, "verdict": "used"}],
        });
        Record::read(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn missing_and_repeated_slots_are_found() {
        let check = |ticks: &[i64], gaps: &[(i64, i64)]| {
            let slot = |slot: &i64| json!({"slot": time_text(slot * 1_000)});
            let gap =
                |gap: &(i64, i64)| json!({"from": time_text(gap.0 * 1_000), "to": time_text(gap.1 * 1_000)});
            let history = json!({"items": ticks.iter().rev().map(slot).collect::<Vec<_>>()});
            let gaps = json!({"items": gaps.iter().map(gap).collect::<Vec<_>>()});
            let bodies = [history, gaps].map(|body| body.to_string().into_bytes());
            covered_once(&bodies[0], &bodies[1], Duration::from_secs(1))
        };
        check(&[1, 2, 6], &[(3, 5)]).unwrap();
        assert!(check(&[60, 120, 121], &[]).is_err(), "live slots are not a minute apart");
        assert!(check(&[1, 2, 6], &[(3, 4)]).is_err(), "a hole");
        assert!(check(&[1, 2, 6], &[(2, 5)]).is_err(), "a slot with a tick and a gap");
        assert!(check(&[1, 2, 2, 3], &[]).is_err(), "a slot with two ticks");
    }

    #[test]
    fn a_wrong_response_of_each_kind_is_found() {
        let records = [tick(1, 1_000, "10.0"), tick(2, 2_000, "11.0"), tick(3, 3_000, "12.5")];
        let item = |record: &Record| json!({"slot": time_text(record.slot.unwrap().0), "price": record.price, "sequence": record.sequence});
        let points = records::points(&records, "BTC-USD");
        let window = |span: &str| {
            let length = Span::try_from(span.to_owned()).unwrap().0;
            let mut window = oracle::window(&points, 3_000, length, 1_000);
            window["from"] = time_text(3_000 - length).into();
            window["to"] = time_text(3_000).into();
            window
        };
        let right = [
            (
                Question::Price,
                json!({"pair": "BTC-USD", "price": "12.5", "slot": time_text(3_000), "sequence": 3, "epoch": 1, "sources": ["kraken"]}),
            ),
            (
                Question::Averages,
                json!({"as_of": time_text(3_000), "sequence": 3, "windows": WINDOWS.split(',').map(window).collect::<Vec<_>>()}),
            ),
            (Question::History, json!({"items": records.iter().rev().map(item).collect::<Vec<_>>()})),
            (Question::Gaps, json!({"items": []})),
        ];
        for (question, answer) in right {
            let check = |records: &[Record], answer: &Value| {
                question.check("BTC-USD", records, answer.to_string().as_bytes())
            };
            check(&records, &answer).unwrap();
            if question != Question::Gaps {
                assert!(
                    check(&records[..2], &answer).is_err(),
                    "{question:?}: a tick that is not in the log"
                );
                let other = answer.to_string().replace("12.5", "12.4");
                assert!(question.check("BTC-USD", &records, other.as_bytes()).is_err(), "{question:?}");
            } else {
                assert!(check(&records, &json!({"items": [{"from": "never"}]})).is_err());
            }
        }
    }
}
