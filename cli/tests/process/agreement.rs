//! Compares two pods at the same sequence, and one pod with its own log.

use serde_json::{Value, json};
use testkit::wait_until;

use crate::{
    harness::{Answer, DEADLINE, Pod},
    oracle,
    records::{self, Point, Record, Span, Time, time, time_text},
};

/// The pair that most tests use.
pub(crate) const PAIR: &str = "BTC-USD";

/// The lengths of windows, from a few slots to longer than any test runs.
const WINDOWS: &str = "1s,2s,3s,5s,7s,15s,1m,10m,1d";

/// Sends a request to both pods until both respond at the same sequence, and checks that the bodies are the same bytes.
pub(crate) async fn same_answer(pods: [&Pod; 2], path: &str) -> Answer {
    let what = format!("two responses at the same sequence to {path}");
    let [one, other] = wait_until(&what, DEADLINE, async || {
        let answers = [pods[0].get(path).await, pods[1].get(path).await];
        (answers[0].sequence() == answers[1].sequence()).then_some(answers)
    })
    .await;
    assert_eq!((one.status, other.status), (200, 200), "{path}: {} {}", one.text(), other.text());
    assert_eq!(one.text(), other.text(), "{path} at sequence {}", one.sequence());
    one
}

/// Compares the responses of both pods to each kind of request without `at_sequence`. Both responses of a comparison
/// are based on the same sequence.
pub(crate) async fn pods_agree(pods: [&Pod; 2]) {
    let base = format!("/v1/prices/{PAIR}");
    for path in ["/v1/pairs", "/v1/prices", &base] {
        same_answer(pods, path).await;
    }
    let price = same_answer(pods, &base).await.json();
    let slot = time(price["slot"].as_str().unwrap()).unwrap();
    let times = [slot - 3_600_000, slot - 1_500, slot, slot + 500, slot + 3_600_000];
    let found =
        same_answer(pods, &format!("{base}/at?{}", times.map(|time| format!("time={time}")).join("&"))).await;
    assert_eq!(found.json()["items"][2]["price"], price["price"]);
    for query in [
        format!("averages?window={WINDOWS}"),
        "averages".to_owned(),
        "history".to_owned(),
        "history?limit=3".to_owned(),
        "history?limit=5&order=asc".to_owned(),
        "gaps".to_owned(),
        "gaps?limit=1".to_owned(),
        "gaps?limit=1&order=asc".to_owned(),
        "gaps?cause=no_leader".to_owned(),
        "candles?interval=1m".to_owned(),
        "candles?interval=1m&limit=1&order=asc".to_owned(),
    ] {
        let first = same_answer(pods, &format!("{base}/{query}")).await;
        if let Some(cursor) = first.json()["next_cursor"].as_str() {
            let mark = if query.contains('?') { '&' } else { '?' };
            same_answer(pods, &format!("{base}/{query}{mark}cursor={cursor}")).await;
        }
    }
}

/// Checks that both pods return the same bytes for every record. Returns the records.
pub(crate) async fn same_records(pods: [&Pod; 2]) -> Vec<Record> {
    same_records_but(pods, &[]).await
}

/// Like [`same_records`], for a log in which the messages at the sequences `foreign` are not records.
pub(crate) async fn same_records_but(pods: [&Pod; 2], foreign: &[u64]) -> Vec<Record> {
    let one = records::all_but(pods[0], foreign).await;
    pods[1].reaches(one.last().map_or(0, |record| record.sequence)).await;
    let other = records::all_but(pods[1], foreign).await;
    crate::audit::nothing_lost(&one, &other);
    one
}

/// Checks a pod's averages, over windows of many lengths, against the records that they are computed from.
pub(crate) async fn averages_are_right(pod: &Pod) {
    averages_are_right_but(pod, &[]).await;
}

/// Like [`averages_are_right`], for a log in which the messages at the sequences `foreign` are not records.
pub(crate) async fn averages_are_right_but(pod: &Pod, foreign: &[u64]) {
    let answer = pod.get(&format!("/v1/prices/{PAIR}/averages?window={WINDOWS}")).await;
    let (sequence, averages) = (answer.sequence(), answer.found());
    let mut known = records::all_but(pod, foreign).await;
    known.retain(|record| record.sequence <= sequence && record.pair == PAIR);

    let newest = known.iter().rfind(|record| record.slot.is_some()).unwrap();
    let to = newest.slot.unwrap().0;
    assert_eq!(averages["as_of"], time_text(to));
    assert_eq!(averages["sequence"], newest.sequence);
    let points = records::points(&known, PAIR);
    let windows = averages["windows"].as_array().unwrap();
    assert_eq!(windows.len(), WINDOWS.split(',').count());
    for (window, span) in windows.iter().zip(WINDOWS.split(',')) {
        let span = Span::try_from(span.to_owned()).unwrap().0;
        assert_eq!((&window["to"], &window["from"]), (&json!(time_text(to)), &json!(time_text(to - span))));
        for (member, expected) in oracle::window(&points, to, span, newest.interval()).as_object().unwrap() {
            assert_eq!(&window[member], expected, "{member} of {window} at sequence {sequence}");
        }
    }
}

/// Reads a pair's list, such as `history`, page by page with `next_cursor`. Returns the items of all pages.
async fn list(pod: &Pod, name: &str, order: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let from = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let mark = if name.contains('?') { '&' } else { '?' };
        let path = format!("/v1/prices/{PAIR}/{name}{mark}order={order}&limit={limit}{from}");
        let answer = pod.get(&path).await;
        let page = answer.found();
        let items = page["items"].as_array().unwrap();
        all.extend_from_slice(items);
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        // The `Link` header contains the same cursor, for clients that follow links.
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap());
        match &cursor {
            Some(cursor) => {
                assert_eq!(items.len(), limit, "only the last page may be short");
                let link = link.unwrap();
                assert!(link.contains(cursor.as_str()) && link.ends_with("; rel=\"next\""), "{link}");
            }
            None => {
                assert_eq!(link, None);
                return all;
            }
        }
    }
}

/// Reads the history of [`PAIR`] page by page.
pub(crate) async fn history(pod: &Pod, order: &str, limit: usize) -> Vec<Point> {
    list(pod, "history", order, limit).await.iter().map(point).collect()
}

/// Checks a pod's history, gaps and candles at the sequence of the last of `records`, in both orders. These lists
/// must be exactly those that follow from `records`.
pub(crate) async fn history_is_the_log(pod: &Pod, records: &[Record]) {
    let mut ticks = records::points(records, PAIR);
    let newest = records.iter().rfind(|record| record.slot.is_some() && record.pair == PAIR).unwrap();
    let next = newest.slot.unwrap().0 + newest.interval();
    let mut candles = oracle::candles(&ticks, 60_000, next);
    for point in &mut ticks {
        // The items of `history` do not contain the interval.
        point.interval = 0;
    }
    assert!(ticks.len() > 6, "too few ticks to page through: {}", ticks.len());
    let mut gaps = oracle::gaps(records, PAIR);
    let at = format!("at_sequence={}", records.last().unwrap().sequence);
    let lists = [format!("history?{at}"), format!("gaps?{at}"), format!("candles?interval=1m&{at}")];
    for order in ["asc", "desc"] {
        for limit in [3, 1_000] {
            let listed: Vec<Point> = list(pod, &lists[0], order, limit).await.iter().map(point).collect();
            assert_eq!(listed, ticks);
        }
        for limit in [1, 1_000] {
            assert_eq!(list(pod, &lists[1], order, limit).await, gaps);
            assert_eq!(list(pod, &lists[2], order, limit).await, candles);
        }
        ticks.reverse();
        gaps.reverse();
        candles.reverse();
    }
}

fn point(item: &Value) -> Point {
    let slot = Time::try_from(item["slot"].as_str().unwrap().to_owned()).unwrap().0;
    let price = item["price"].as_str().unwrap().to_owned();
    Point {
        sequence: item["sequence"].as_u64().unwrap(),
        slot,
        interval: 0,
        price,
        backfilled: item["backfilled"].as_bool().unwrap(),
    }
}
