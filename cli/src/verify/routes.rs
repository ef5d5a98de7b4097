//! The requests: every route of `/v1`, with the parameters that users typically send.

use std::{collections::VecDeque, fmt, time::Duration};

use common::domain::{Sequence, Timestamp};
use serde_json::Value;

use crate::pod::{Response, text};

/// Windows of averages. A window may be shorter than the pair's interval or longer than the history. In that case, all
/// pods are expected to refuse the request with the same error.
const WINDOWS: [&str; 10] = ["1m", "5m", "10m", "1h", "6h", "1d", "7d", "30d", "90d", "365d"];

const CANDLES: [&str; 6] = ["1m", "5m", "15m", "1h", "4h", "1d"];

const ORDERS: [&str; 2] = ["desc", "asc"];

/// The formats of history other than JSON.
const FORMATS: [&str; 2] = ["csv", "ndjson"];

/// The values of `max_points`, to which the whole history is thinned.
const POINTS: [u32; 3] = [4, 500, 10_000];

/// How long before the pair's newest slot its prices at given times are compared.
const AGES_SECONDS: [u64; 8] = [0, 1, 60, 900, 3_600, 86_400, 604_800, 31_536_000];

/// The maximum number of pages that are read from each end of a list.
const MAX_PAGES: u32 = 3;

/// The number of items per page.
const PAGE: u32 = 1_000;

/// The maximum number of pairs that are compared. A log usually has only a few.
const MAX_PAIRS: usize = 100;

/// The number of single records that are compared, spread over the newest [`REACH`].
const RECORDS: u64 = 32;

/// How far back single records are compared, in sequences.
const REACH: u64 = 1_000;

/// One request to every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    path: String,
    kind: Kind,
}

/// Which requests follow from a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Requests for each pair in the response.
    Pairs,
    /// The request for the next page. The number is how many pages have been read so far.
    Page(u32),
    /// No further requests.
    Single,
}

/// The requests that do not depend on an earlier response.
pub(super) fn first(sequence: Sequence) -> VecDeque<Request> {
    let mut requests = VecDeque::from([
        Request { path: "/v1/pairs".to_owned(), kind: Kind::Pairs },
        Request::single("/v1/prices".to_owned()),
        Request::single("/v1/sources".to_owned()),
    ]);
    requests.extend(records(sequence).map(|number| Request::single(format!("/v1/ticks/{number}"))));
    requests
}

/// The newest record, and older ones at even distances.
fn records(newest: Sequence) -> impl Iterator<Item = u64> {
    let reach = REACH.min(newest.0);
    (0..RECORDS.min(reach)).map(move |number| newest.0 - number * reach / RECORDS.min(reach))
}

impl Request {
    fn single(path: String) -> Self {
        Self { path, kind: Kind::Single }
    }

    /// The path of the request, pinned to `sequence`.
    pub(super) fn pinned(&self, sequence: Sequence) -> String {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{mark}at_sequence={sequence}", self.path)
    }

    /// The requests that follow from a response to this one.
    pub(super) fn next(&self, response: &Response) -> Vec<Self> {
        let body = response.object();
        match self.kind {
            Kind::Single => Vec::new(),
            Kind::Pairs => {
                let items = body.get("items").and_then(Value::as_array).into_iter().flatten();
                let pairs = items.filter_map(|item| item.get("pair")?.as_str());
                let pairs: Vec<&str> = pairs.take(MAX_PAIRS).collect();
                let items = body.get("items").and_then(Value::as_array).into_iter().flatten();
                let times = items.take(MAX_PAIRS).filter_map(at_times);
                pairs.iter().flat_map(|pair| about(pair)).chain(times).chain(conversions(&pairs)).collect()
            }
            Kind::Page(read) => {
                let cursor = text(&body, "next_cursor");
                if cursor.is_empty() || read >= MAX_PAGES {
                    return Vec::new();
                }
                // A later page has the parameters of the first page and a cursor.
                let first = self.path.split("&cursor=").next().unwrap_or_default();
                vec![Self { path: format!("{first}&cursor={cursor}"), kind: Kind::Page(read + 1) }]
            }
        }
    }
}

/// The requests about one pair.
fn about(pair: &str) -> Vec<Request> {
    let base = format!("/v1/prices/{pair}");
    let mut requests = vec![Request::single(base.clone())];
    requests.extend(WINDOWS.map(|window| Request::single(format!("{base}/averages?window={window}"))));
    requests.extend(FORMATS.map(|format| Request::single(format!("{base}/history?format={format}"))));
    requests.extend(POINTS.map(|points| Request::single(format!("{base}/history?max_points={points}"))));
    let lists = ["history?".to_owned(), "gaps?".to_owned()].into_iter();
    let candles = CANDLES.map(|interval| format!("candles?interval={interval}&"));
    for list in lists.chain(candles) {
        requests.extend(ORDERS.map(|order| Request {
            path: format!("{base}/{list}order={order}&limit={PAGE}"),
            kind: Kind::Page(1),
        }));
    }
    requests
}

/// The request for a pair's prices at several times before its newest slot.
fn at_times(item: &Value) -> Option<Request> {
    let (pair, slot) = (item.get("pair")?.as_str()?, item.get("slot")?.as_str()?);
    let newest: Timestamp = slot.parse().ok()?;
    let time = |seconds| newest.minus(Duration::from_secs(seconds)).unix_millis();
    let times: Vec<String> = AGES_SECONDS.iter().map(|age| format!("time={}", time(*age))).collect();
    Some(Request::single(format!("/v1/prices/{pair}/at?{}", times.join("&"))))
}

/// Conversions between the assets of each pair in both directions, and between the bases of neighbouring pairs.
fn conversions(pairs: &[&str]) -> Vec<Request> {
    let assets: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.split_once('-')).collect();
    let bases = assets.iter().zip(assets.iter().skip(1)).map(|((one, _), (next, _))| (*one, *next));
    let ways = assets.iter().flat_map(|(base, quote)| [(*base, *quote), (*quote, *base)]).chain(bases);
    let convert =
        |(from, to): (&str, &str)| Request::single(format!("/v1/convert?from={from}&to={to}&amount=1.5"));
    ways.filter(|(from, to)| from != to).map(convert).collect()
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)
    }
}
