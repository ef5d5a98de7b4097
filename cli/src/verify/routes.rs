//! What is asked: every route of `/v1`, in the ways that users ask it.

use std::{collections::VecDeque, fmt};

use common::domain::Sequence;
use serde_json::Value;

use crate::pod::{Answer, text};

/// From one that is shorter than many intervals to the longest that can be asked for.
const WINDOWS: [&str; 10] = ["1m", "5m", "10m", "1h", "6h", "1d", "7d", "30d", "90d", "365d"];

const CANDLES: [&str; 6] = ["1m", "5m", "15m", "1h", "4h", "1d"];

const ORDERS: [&str; 2] = ["desc", "asc"];

/// The forms of history, beside JSON.
const FORMATS: [&str; 2] = ["csv", "ndjson"];

/// How few ticks all history is brought down to.
const POINTS: [u32; 3] = [4, 500, 10_000];

/// Lists over time are read so many pages far, from either end.
const MAX_PAGES: u32 = 3;

/// Items on a page.
const PAGE: u32 = 1_000;

/// Pairs that are asked about. A log has a few.
const MAX_PAIRS: usize = 100;

/// Records that are asked for one by one, spread over the newest [`REACH`].
const RECORDS: u64 = 32;

/// How far back records are asked for.
const REACH: u64 = 1_000;

/// One question to every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    path: String,
    kind: Kind,
}

/// What an answer leads on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Questions about each pair in it.
    Pairs,
    /// The page after this one, of which so many have been read.
    Page(u32),
    /// Nothing.
    Single,
}

/// The questions that can be asked without knowing anything but the sequence.
pub(super) fn first(sequence: Sequence) -> VecDeque<Question> {
    let mut questions = VecDeque::from([
        Question { path: "/v1/pairs".to_owned(), kind: Kind::Pairs },
        Question::single("/v1/prices".to_owned()),
        Question::single("/v1/sources".to_owned()),
    ]);
    questions.extend(records(sequence).map(|number| Question::single(format!("/v1/ticks/{number}"))));
    questions
}

/// The newest record, and some before it at even distances.
fn records(newest: Sequence) -> impl Iterator<Item = u64> {
    let reach = REACH.min(newest.0);
    (0..RECORDS.min(reach)).map(move |number| newest.0 - number * reach / RECORDS.min(reach))
}

impl Question {
    fn single(path: String) -> Self {
        Self { path, kind: Kind::Single }
    }

    /// The request target that asks it of the log as of `sequence`.
    pub(super) fn pinned(&self, sequence: Sequence) -> String {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{mark}at_sequence={sequence}", self.path)
    }

    /// What one answer to it leads on to.
    pub(super) fn next(&self, answer: &Answer) -> Vec<Self> {
        let answer = answer.object();
        match self.kind {
            Kind::Single => Vec::new(),
            Kind::Pairs => {
                let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
                let pairs = items.filter_map(|item| item.get("pair")?.as_str());
                let pairs: Vec<&str> = pairs.take(MAX_PAIRS).collect();
                pairs.iter().flat_map(|pair| about(pair)).chain(conversions(&pairs)).collect()
            }
            Kind::Page(read) => {
                let cursor = text(&answer, "next_cursor");
                if cursor.is_empty() || read >= MAX_PAGES {
                    return Vec::new();
                }
                // A later page is asked for as the first was, and then some.
                let first = self.path.split("&cursor=").next().unwrap_or_default();
                vec![Self { path: format!("{first}&cursor={cursor}"), kind: Kind::Page(read + 1) }]
            }
        }
    }
}

/// Everything that can be asked about a pair.
fn about(pair: &str) -> Vec<Question> {
    let base = format!("/v1/prices/{pair}");
    let mut questions = vec![Question::single(base.clone())];
    questions.extend(WINDOWS.map(|window| Question::single(format!("{base}/averages?window={window}"))));
    questions.extend(FORMATS.map(|format| Question::single(format!("{base}/history?format={format}"))));
    questions.extend(POINTS.map(|points| Question::single(format!("{base}/history?max_points={points}"))));
    let lists = ["history?".to_owned(), "gaps?".to_owned()].into_iter();
    let candles = CANDLES.map(|interval| format!("candles?interval={interval}&"));
    for list in lists.chain(candles) {
        questions.extend(ORDERS.map(|order| Question {
            path: format!("{base}/{list}order={order}&limit={PAGE}"),
            kind: Kind::Page(1),
        }));
    }
    questions
}

/// Every pair either way round, and what the base of each is worth in that of the next.
fn conversions(pairs: &[&str]) -> Vec<Question> {
    let assets: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.split_once('-')).collect();
    let bases = assets.iter().zip(assets.iter().skip(1)).map(|((one, _), (next, _))| (*one, *next));
    let ways = assets.iter().flat_map(|(base, quote)| [(*base, *quote), (*quote, *base)]).chain(bases);
    let convert =
        |(from, to): (&str, &str)| Question::single(format!("/v1/convert?from={from}&to={to}&amount=1.5"));
    ways.filter(|(from, to)| from != to).map(convert).collect()
}

impl fmt::Display for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)
    }
}
