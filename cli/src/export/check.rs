//! Checks rows that a pod sends before they are written: a file must contain nothing that a spreadsheet or a terminal would
//! execute, and an export must end.

use anyhow::{Result, bail, ensure};
use common::domain::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The members that are times. The first one that a row has is the time that the row begins with.
const TIMES: [&str; 5] = ["slot", "from", "start", "to", "end"];

/// The members that are words or durations. All other texts are numbers.
const WORDS: [&str; 2] = ["cause", "interval"];

/// The longest word, duration or number.
const MAX_WORD_BYTES: usize = 64;

/// The rows of one export, which must be in order. So each page brings the export closer to its end, whatever cursors the
/// pod sends.
#[derive(Debug, Default)]
pub(super) struct Check {
    newest: Option<Timestamp>,
}

impl Check {
    /// Checks the next page. Every page but the last one must have rows.
    pub(super) fn page<R: Serialize>(&mut self, rows: &[R], is_last: bool) -> Result<()> {
        ensure!(is_last || !rows.is_empty(), "the pod sent a page without rows before the last page");
        rows.iter().try_for_each(|row| self.row(&serde_json::to_value(row)?))
    }

    fn row(&mut self, row: &Value) -> Result<()> {
        for (name, value) in row.as_object().into_iter().flatten() {
            if let Value::String(text) = value {
                ensure!(is_valid(name, text), "the pod sent a row whose `{name}` is not valid");
            }
        }
        let time = TIMES.iter().find_map(|name| row.get(name)?.as_str()?.parse::<Timestamp>().ok());
        let Some(time) = time else { bail!("the pod sent a row without a time") };
        ensure!(self.newest.is_none_or(|newest| newest < time), "the pod sent rows that are not in order");
        self.newest = Some(time);
        Ok(())
    }
}

fn is_valid(name: &str, text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if TIMES.contains(&name) {
        // Another notation of the same time could have other characters.
        text.parse::<Timestamp>().is_ok_and(|time| time.to_string() == text)
    } else if WORDS.contains(&name) {
        (1..=MAX_WORD_BYTES).contains(&text.len()) && text.bytes().all(is_word)
    } else {
        is_number(text)
    }
}

/// Whether a text is a decimal number as pods write it: without an exponent.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    text.len() <= MAX_WORD_BYTES && digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tick(second: u32, price: &str) -> Value {
        json!({ "slot": format!("2026-11-21T00:00:{second:02}.000Z"), "price": price, "sequence": second })
    }

    #[test]
    fn rows_with_anything_else_than_times_words_and_numbers_are_refused() {
        let check = |row: Value| Check::default().page(&[row], true).is_ok();
        let gap = |cause: &str| {
            let slot = "2026-11-21T00:00:10.000Z";
            json!({ "from": slot, "to": slot, "slots": 1, "interval": "10s", "cause": cause, "sources": null })
        };
        assert!(check(tick(1, "97012.30")) && check(tick(1, "0.00000001")) && check(gap("too_few_sources")));
        for price in
            ["", "=1+1", "@SUM(A1)", "+1", "-cmd|' /C calc'!A0", "1\n2", "\u{1b}[2J", "1,2", "NaN", "1e5"]
        {
            assert!(!check(tick(1, price)), "{price:?}");
        }
        for cause in ["", "=HYPERLINK(1)", "too few", "x\r", &"x".repeat(65)] {
            assert!(!check(gap(cause)), "{cause:?}");
        }
        assert!(!check(json!({ "slot": "2026-11-21T00:00:01Z\u{7}", "price": "1" })));
        assert!(!check(json!({ "price": "1" })));
    }

    #[test]
    fn an_export_cannot_be_led_in_circles() {
        let mut check = Check::default();
        assert!(check.page(&[tick(1, "1"), tick(2, "1")], false).is_ok());
        assert!(check.page(&[tick(3, "1")], false).is_ok());
        // A page that was already sent, and a page that brings nothing.
        assert!(check.page(&[tick(1, "1")], false).is_err());
        assert!(Check::default().page::<Value>(&[], false).is_err());
        assert!(Check::default().page::<Value>(&[], true).is_ok());
    }
}
