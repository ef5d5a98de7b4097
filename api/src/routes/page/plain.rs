//! The page's table of prices for browsers without scripts.

use common::domain::{Origin, Pair};

use super::super::{State, no_price_yet, price_item::price_item};
use crate::html::{escaped, marked_up};
use ledger::snapshot::{PairView, Snapshot};

/// The columns of the table. If a pair has no price, its row has the reason instead, across all columns but the first.
const COLUMNS: [&str; 6] = ["Pair", "Price in the quote asset", "Slot", "State", "Origin", "Sources"];

/// What the page says if prices are not those of exchanges now, as the page's scripts do.
const SIMULATED: &str = "<p>Simulated: these prices are made up.</p>\n";
const REPLAYED: &str = "<p>Replayed: these are not today's prices.</p>\n";

/// The newest price of each pair, or why the pair has none.
pub(super) fn prices(state: &State, snapshot: &Snapshot) -> String {
    if snapshot.pairs.is_empty() {
        return no_prices(no_price_yet(None, None).detail());
    }
    let rows = snapshot.pairs.iter().map(|(pair, view)| match price(state, snapshot, *pair, view) {
        Some(cells) => row(&pair.to_string(), &cells),
        None => row(&pair.to_string(), &[no_price(view)]),
    });
    let origin = match snapshot.origin {
        Some(Origin::Simulated) => SIMULATED,
        Some(Origin::Replay) => REPLAYED,
        Some(Origin::Live) | None => "",
    };
    format!("{origin}{}", table(snapshot, &rows.collect::<String>()))
}

/// Why there are no prices.
pub(super) fn no_prices(reason: &str) -> String {
    format!("<p>No prices: {}</p>", marked_up(reason))
}

/// The cells of a price, with the digits of the log.
fn price(state: &State, snapshot: &Snapshot, pair: Pair, view: &PairView) -> Option<Vec<String>> {
    let item = price_item(state, snapshot, pair, view)?;
    let freshness = if item.stale { "stale" } else { "fresh" };
    let sources = item.sources.len().to_string();
    Some(vec![
        item.price.0.to_string(),
        item.slot.0.to_string(),
        freshness.to_owned(),
        item.origin.0.to_string(),
        sources,
    ])
}

fn no_price(view: &PairView) -> String {
    let why = view.gap.as_ref().map(|gap| format!(": {} since {}", gap.cause, gap.from.start()));
    format!("no price yet{}", why.unwrap_or_default())
}

fn table(snapshot: &Snapshot, rows: &str) -> String {
    let head: String = COLUMNS.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        "<table>\n<caption>As of sequence {}</caption>\n<tr>{head}</tr>\n{rows}</table>",
        snapshot.sequence
    )
}

fn row(pair: &str, cells: &[String]) -> String {
    let span = match cells {
        [_] => format!(" colspan=\"{}\"", COLUMNS.len() - 1),
        _ => String::new(),
    };
    let cells: String = cells.iter().map(|cell| format!("<td{span}>{}</td>", escaped(cell))).collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escaped(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let hostile = "</td><script>alert(\"1\" & '2')</script>";
        let row = row(hostile, &[hostile.to_owned(), "1".to_owned()]);
        for part in ["<script", "</td><s", "\"1\"", " & "] {
            assert!(!row.contains(part), "{part} in {row}");
        }
        assert_eq!(row.matches("&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot; &amp; '2')").count(), 2);
        assert_eq!(no_prices("`a` < b"), "<p>No prices: <code>a</code> &lt; b</p>");
    }
}
