//! A table with a line for each slot: the price or the cause of the gap, and the verdict on each source.

use serde_json::Value;
use testkit::Venue;

/// Wide enough for all verdicts but the longest.
const WORD_WIDTH: usize = 14;

/// Wide enough for the cause of a gap.
const PRICE_WIDTH: usize = 18;

/// The header line.
pub(crate) fn header(sources: &[Venue]) -> String {
    let names: String = sources.iter().map(|source| cell(source.name(), WORD_WIDTH)).collect();
    line(&format!("{}{}{names}", cell("slot", WORD_WIDTH), cell("price", PRICE_WIDTH)))
}

/// The line of a tick or gap with quotes; `None` for other records.
pub(crate) fn row(record: &Value, sources: &[Venue]) -> Option<String> {
    let quotes = record["quotes"].as_array()?;
    let slot = record["slot"].as_str()?;
    let time = slot.split_once('T').map_or(slot, |(_, time)| time.trim_end_matches('Z'));
    let price = record["price"].as_str().or(record["cause"].as_str())?;
    let verdict = |source: &Venue| {
        let quote = quotes.iter().find(|quote| quote["source"] == source.name());
        cell(quote.and_then(|quote| quote["verdict"].as_str()).unwrap_or("-"), WORD_WIDTH)
    };
    let verdicts: String = sources.iter().map(verdict).collect();
    Some(line(&format!("{}{}{verdicts}", cell(time, WORD_WIDTH), cell(price, PRICE_WIDTH))))
}

fn cell(text: &str, width: usize) -> String {
    // If a word fills its cell, there is still a space after it.
    format!("{text:<width$} ", width = width - 1)
}

fn line(text: &str) -> String {
    format!("  {}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ticks_and_gaps_line_up_below_their_sources() {
        let sources = [Venue::Kraken, Venue::Gemini];
        let quotes =
            json!([{"source": "gemini", "verdict": "used"}, {"source": "kraken", "verdict": "http_451"}]);
        let tick = json!({"slot": "2026-11-21T00:00:10.000Z", "price": "97012.30", "quotes": quotes});
        let gap = json!({"slot": "2026-11-21T00:00:11.000Z", "cause": "too_few_sources", "quotes": quotes});
        let lines = [header(&sources), row(&tick, &sources).unwrap(), row(&gap, &sources).unwrap()];
        for (column, words) in [
            (2, ["slot", "00:00:10.000", "00:00:11.000"]),
            (16, ["price", "97012.30", "too_few_sources"]),
            (34, ["kraken", "http_451", "http_451"]),
            (48, ["gemini", "used", "used"]),
        ] {
            for (line, word) in lines.iter().zip(words) {
                assert!(line[column..].starts_with(word), "{word} at {column} of {line:?}");
            }
        }
        assert_eq!(row(&json!({"kind": "lead", "quotes": null}), &sources), None);
    }
}
