//! What the table shows in terminals of any size.

use std::time::Duration;

use super::*;
use crate::watch::tests::{at, gap, read, tick};

fn state(pairs: &[&str]) -> State {
    State::new(pairs.iter().map(|pair| pair.parse().unwrap()).collect())
}

fn take(state: &mut State, sent: &str) {
    state.take(read(sent)).unwrap();
}

fn wide(columns: usize) -> Size {
    Size { columns, lines: 24 }
}

/// The lines of the pairs at this second, in a terminal with this number of columns.
fn rows(state: &State, second: i64, columns: usize) -> Vec<String> {
    let mut lines = table(state, at(second), wide(columns), false);
    assert!(lines.iter().all(|line| width(line) <= columns), "{lines:#?}");
    lines.pop();
    lines
}

fn row(state: &State, second: i64, columns: usize) -> String {
    rows(state, second, columns).join("\n")
}

#[test]
fn the_important_parts_are_shown_at_every_width() {
    let mut state = state(&["BTC-USD"]);
    assert_eq!(row(&state, 0, 40), "BTC-USD    waiting for a price");
    let simulated = |sent: String| sent.replace("\"live\"", "\"simulated\"");
    take(&mut state, &simulated(tick(1, "98695.75")));
    take(&mut state, &simulated(tick(2, "98695.07")));
    for (columns, late, expected) in [
        (200, false, "BTC-USD          98695.07  ▼ −0.68       simulated  9s ago  1970-01-01T00:00:20.000Z"),
        (
            200,
            true,
            "BTC-USD          98695.07  ▼ −0.68       simulated  31s ago late  1970-01-01T00:00:20.000Z",
        ),
        (80, false, "BTC-USD          98695.07  ▼ −0.68       simulated  9s ago  00:00:20Z"),
        (80, true, "BTC-USD          98695.07  ▼ −0.68       simulated  31s ago late  00:00:20Z"),
        (60, true, "BTC-USD  98695.07  ▼ −0.68  simulated  31s ago late"),
        (40, false, "BTC-USD  98695.07  simulated  9s ago"),
        (40, true, "BTC-USD simulated 31s late 98695.07"),
        (34, true, "BTC-USD simulated 31s late …"),
        (19, true, "BTC-USD simulated …"),
        (5, true, "BTC-…"),
    ] {
        assert_eq!(row(&state, if late { 51 } else { 29 }, columns), expected, "{columns}");
    }
    take(&mut state, &gap(3, 3));
    for (columns, expected) in [
        (200, "BTC-USD          98695.07  simulated  no price since 1970-01-01T00:00:30.000Z, now retention"),
        (80, "BTC-USD          98695.07  simulated  no price since 00:00:30Z, now retention"),
        (70, "BTC-USD  98695.07  simulated  no price since 00:00:30Z, now retention"),
        (60, "BTC-USD  98695.07  simulated  no price since 00:00:30Z"),
        (40, "BTC-USD simulated no price 98695.07"),
        (30, "BTC-USD simulated no price …"),
    ] {
        assert_eq!(row(&state, 45, columns), expected, "{columns}");
    }
}

#[test]
fn no_width_truncates_a_price_or_shows_a_simulated_price_without_its_label() {
    let mut state = state(&["BTC-USD", "ETH-USD"]);
    take(&mut state, &tick(2, "98695.07"));
    take(
        &mut state,
        &tick(2, "0.00001234").replace("BTC-USD", "ETH-USD").replace("\"live\"", "\"simulated\""),
    );
    for second in [25, 60] {
        for columns in 1..120 {
            let lines = rows(&state, second, columns);
            for (line, price) in lines.iter().zip(["98695.07", "0.00001234"]) {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |word: &&&str| word.contains('.') && !word.contains('Z');
                assert!(words.iter().filter(number).all(|word| *word == price), "{columns}: {line}");
                let has_price = words.contains(&price);
                assert!(!has_price || second == 25 || line.contains("late"), "{columns}: {line}");
            }
            assert!(!lines[1].contains("0.0") || lines[1].contains("simulated"), "{columns}: {}", lines[1]);
        }
    }
}

#[test]
fn columns_are_aligned() {
    let mut state = state(&["BTC-USD", "DOGE-USD"]);
    take(&mut state, &tick(2, "98695.07"));
    take(&mut state, &tick(2, "0.25").replace("BTC-USD", "DOGE-USD"));
    assert_eq!(rows(&state, 25, 40), ["BTC-USD   98695.07    5s ago", "DOGE-USD      0.25    5s ago"]);
}

#[test]
fn consecutive_gaps_are_shown_as_one_period() {
    let mut state = state(&["BTC-USD"]);
    let disagreeing = |number| gap(number, number).replace("retention", "disagreement");
    let since = |state: &State| row(state, 50, 200).split_once("since ").unwrap().1.to_owned();
    take(&mut state, &tick(5, "100"));
    // A new client only gets the newest tick and the newest gap, not the gaps between them.
    for number in 8..12 {
        take(&mut state, &disagreeing(number));
        assert_eq!(since(&state), "1970-01-01T00:01:00.000Z, now disagreement", "{number}");
    }
    take(&mut state, &tick(12, "100"));
    assert!(!row(&state, 125, 80).contains("no price"));
    take(&mut state, &disagreeing(13));
    assert_eq!(since(&state), "1970-01-01T00:02:10.000Z, now disagreement");
}

#[test]
fn a_pair_without_any_tick_has_no_price_yet() {
    let mut state = state(&["BTC-USD"]);
    for number in 3..5 {
        take(&mut state, &gap(number, 3));
        for (columns, expected) in [
            (80, "BTC-USD    simulated  no price yet, now retention"),
            (40, "BTC-USD  simulated  no price yet"),
            (30, "BTC-USD simulated no price yet"),
        ] {
            assert_eq!(row(&state, 50, columns), expected, "{columns}");
        }
    }
    take(&mut state, &tick(5, "100"));
    take(&mut state, &gap(6, 6));
    assert!(row(&state, 70, 80).contains("no price since 00:01:00Z"), "{}", row(&state, 70, 80));
}

#[test]
fn without_named_pairs_every_pair_gets_a_row_in_alphabetical_order() {
    let mut state = state(&[]);
    assert_eq!(rows(&state, 0, 80), ["waiting for the first record of any pair"]);
    for (number, pair) in (1..).zip(["ETH-USD", "BTC-USD", "SOL-USD", "ETH-USD"]) {
        take(&mut state, &tick(number, "100").replace("BTC-USD", pair));
    }
    let pairs: Vec<String> =
        rows(&state, 40, 80).iter().map(|row| row.split_once(' ').unwrap().0.to_owned()).collect();
    assert_eq!(pairs, ["BTC-USD", "ETH-USD", "SOL-USD"]);
}

#[test]
fn an_age_is_in_its_largest_unit_and_other_days_are_dates() {
    let mut state = state(&["BTC-USD"]);
    take(&mut state, &tick(2, "100"));
    assert!(row(&state, 50, 200).contains("  30s ago  "), "{}", row(&state, 50, 200));
    assert!(row(&state, 20 + 7_300, 200).contains("  2h ago late  "));
    assert!(row(&state, 86_420, 70).ends_with("  1d ago late  1970-01-01"), "{}", row(&state, 86_420, 70));
    // A recording has its own time, so no age is shown.
    take(&mut state, &tick(3, "100").replace("\"live\"", "\"replay\""));
    assert!(row(&state, 1_000_000, 70).ends_with("replay  00:00:30Z"), "{}", row(&state, 1_000_000, 70));
}

#[test]
fn colours_do_not_change_the_layout() {
    let mut state = state(&["BTC-USD"]);
    take(&mut state, &tick(1, "100.0"));
    take(&mut state, &tick(2, "98.25"));
    let painted = table(&state, at(51), wide(65), true).remove(0);
    assert!(painted.contains("\x1b[31m▼ −1.75     \x1b[0m"), "{painted:?}");
    assert!(painted.ends_with("\x1b[33m31s ago late\x1b[0m  00:00:20Z"), "{painted:?}");
    let plain =
        [RED, YELLOW, "0"].iter().fold(painted, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
    assert_eq!(plain, row(&state, 51, 65));
}

#[tokio::test]
async fn the_time_to_the_next_attempt_is_never_truncated() {
    let mut state = state(&["BTC-USD"]);
    let until = Instant::now() + Duration::from_secs(20);
    let why = format!("it said\x1b[2J\n{}", "x".repeat(1_000));
    state.lost(why, "http://127.0.0.1:18381".to_owned(), until);
    let last = |columns| table(&state, at(0), wide(columns), false).pop().unwrap();
    assert!(
        last(40).starts_with("not connected; next try in ") && last(40).contains("s at http:"),
        "{}",
        last(40)
    );
    assert!(last(80).contains("http://127.0.0.1:18381; reason: it"), "{}", last(80));
    assert!(last(200).contains("reason: it said [2J xx"), "{:?}", last(200));
    for columns in [1, 40, 80] {
        assert_eq!((width(&last(columns)), last(columns).ends_with('…')), (columns, true));
    }
}

#[test]
fn pairs_that_do_not_fit_are_counted() {
    let pairs: Vec<String> = ["BTC", "ETH", "SOL", "ADA", "DOT"].map(|asset| format!("{asset}-USD")).into();
    let state = state(&pairs.iter().map(String::as_str).collect::<Vec<_>>());
    let seen = |lines| table(&state, at(0), Size { columns: 80, lines }, false);
    assert_eq!(seen(7).len(), 6, "one line is left for the cursor");
    assert!(seen(7)[4].starts_with("DOT-USD"));
    assert_eq!(seen(6)[3..], ["… 2 more do not fit", "connecting"]);
    assert_eq!(seen(4).len(), 3);
    assert_eq!(seen(3), ["… 5 more do not fit", "connecting"]);
    for lines in 0..3 {
        assert_eq!(seen(lines), ["… 5 more do not fit", "connecting"][..lines.saturating_sub(1).max(1)]);
    }
}
