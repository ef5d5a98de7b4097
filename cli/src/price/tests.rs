//! Prices from a fake pod, whose pairs have a slot every ten seconds since 1970 up to `NEWEST`.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::*;
use crate::pod::{Key, fake};

/// The newest slot in milliseconds.
const NEWEST: i64 = 1_700_000_000_000;

/// A gap of this many milliseconds ends with the slot that this number divides.
const GAP: i64 = 100_000;

/// The tick of a slot. Its price is the slot's number.
fn tick(slot: i64) -> Value {
    json!({"slot": Timestamp::from_unix_millis(slot).unwrap().to_string(), "price": format!("{}.50", slot / 10_000), "sequence": slot / 10_000})
}

fn item(millis: i64) -> Value {
    let slot = millis - millis % 10_000;
    if millis > NEWEST {
        return json!({"outcome": "future", "price": null, "slot": null, "sequence": null});
    }
    if slot % GAP != 0 {
        let mut item = tick(slot);
        item["outcome"] = json!("tick");
        return item;
    }
    let text = tick(slot)["slot"].clone();
    let gap = json!({"from": text, "to": text, "cause": "disagreement"});
    json!({"outcome": "gap", "price": null, "slot": null, "sequence": null, "gap": gap, "before": tick(slot - 10_000)})
}

/// The address of the pod, and the requests that it got.
async fn pod() -> (String, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let url = fake::start(move |target| {
        seen.lock().unwrap().push(target.to_owned());
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let times = query.split('&').filter_map(|part| part.strip_prefix("time=")?.parse().ok());
        let items: Vec<Value> = times.map(item).collect();
        (
            200,
            "X-Tickwell-Sequence: 77\r\n".to_owned(),
            json!({"pair": "BTC-USD", "items": items}).to_string(),
        )
    })
    .await;
    (url, requests)
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).unwrap()
}

#[tokio::test]
async fn any_number_of_times_is_looked_up_in_requests_of_a_hundred() {
    let (url, requests) = pod().await;
    let pod = PodClient::new("--url", &url, &Key::default()).unwrap();
    let times: Vec<Timestamp> = (0..250).map(|index| time(NEWEST - index * 7_000)).collect();
    let found = look_up(&pod, "BTC-USD".parse().unwrap(), &times, Some(Sequence(77))).await.unwrap();
    assert_eq!(found.len(), 250);
    for (time, found) in times.iter().zip(found) {
        let expected: FoundItem = serde_json::from_value(item(time.unix_millis())).unwrap();
        assert_eq!(found, expected.try_into().unwrap(), "{time}");
    }
    let requests = requests.lock().unwrap();
    let counts: Vec<usize> = requests.iter().map(|request| request.matches("time=").count()).collect();
    assert_eq!(counts, [100, 100, 50]);
    assert!(requests.iter().all(|request| request.ends_with("&at_sequence=77")), "{requests:?}");
}

/// Annotates a file with this text. Returns the new text.
async fn annotated(text: &str, pair_column: Option<&str>, max_distance: Option<&str>) -> Result<String> {
    let (url, _) = pod().await;
    let pod = PodClient::new("--url", &url, &Key::default())?;
    let folder = tempfile::tempdir()?;
    let (input, output) = (folder.path().join("in.csv"), folder.path().join("out.csv"));
    fs::write(&input, text)?;
    let annotation = Annotation {
        pod: &pod,
        columns: Columns { time: "when", pair: pair_column },
        pair: pair_column.is_none().then(|| "BTC-USD".parse().unwrap()),
        max_distance: max_distance.map(|span| span.parse().unwrap()),
    };
    let done = annotation.run(&input, &output, false).await;
    assert_eq!(output.exists(), done.is_ok(), "a file is written completely or not at all");
    done?;
    Ok(fs::read_to_string(&output)?)
}

#[tokio::test]
async fn a_file_gets_the_price_of_each_row_and_keeps_its_own_columns() {
    let text = "id,when,note,asset\n\
                1,1699999994000,\"a, b\",btc-usd\n\
                2,1699999900000,,ETH-USD\n\
                3,2100-01-01,\"\"\"c\"\"\",BTC-USD\n\
                4,2023-11-14T22:13:04.5Z,,BTC/USD\n";
    let new = annotated(text, Some("asset"), None).await.unwrap();
    let expected = "id,when,note,asset,price,price_slot,price_sequence,price_outcome\n\
                    1,1699999994000,\"a, b\",btc-usd,169999999.50,2023-11-14T22:13:10.000Z,169999999,tick\n\
                    2,1699999900000,,ETH-USD,,,,gap\n\
                    3,2100-01-01,\"\"\"c\"\"\",BTC-USD,,,,future\n\
                    4,2023-11-14T22:13:04.5Z,,BTC/USD,169999998.50,2023-11-14T22:13:00.000Z,169999998,tick\n";
    assert_eq!(new, expected);
}

#[tokio::test]
async fn a_price_is_used_only_within_the_maximum_distance() {
    let text = "when\n1699999994000\n1699999999999\n1699999900000\n1699999909999\n";
    for (limit, expected) in [
        (None, ["tick", "tick", "gap", "gap"]),
        (Some("4s"), ["tick", "too_far", "gap", "gap"]),
        (Some("10s"), ["tick", "tick", "before_gap", "gap"]),
        (Some("1m"), ["tick", "tick", "before_gap", "before_gap"]),
    ] {
        let new = annotated(text, None, limit).await.unwrap();
        let rows: Vec<Vec<&str>> = new.lines().skip(1).map(|row| row.split(',').collect()).collect();
        let outcomes: Vec<&str> = rows.iter().map(|row| row[4]).collect();
        assert_eq!(outcomes, expected, "{limit:?}");
        for row in rows {
            let has_price = ["tick", "before_gap"].contains(&row[4]);
            assert_eq!(row[1..4].iter().all(|cell| !cell.is_empty()), has_price, "{row:?}");
        }
    }
}

#[tokio::test]
async fn thousands_of_rows_stay_in_order() {
    let rows: Vec<(i64, &str)> = (0..2_500)
        .map(|index| {
            (NEWEST - index * 37_000, ["BTC-USD", "ETH-USD", "SOL-USD"][usize::try_from(index % 3).unwrap()])
        })
        .collect();
    let text: Vec<String> = rows.iter().map(|(millis, pair)| format!("{millis},{pair}")).collect();
    let new = annotated(&format!("when,pair\n{}\n", text.join("\n")), Some("pair"), None).await.unwrap();
    assert_eq!(new.lines().count(), 2_501);
    for (line, (millis, pair)) in new.lines().skip(1).zip(rows) {
        let item = item(millis);
        let price = item["price"].as_str().unwrap_or_default();
        assert!(line.starts_with(&format!("{millis},{pair},{price},")), "{line}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_annotated_is_refused_with_the_place_of_the_fault() {
    for (text, pair_column, fragments) in [
        ("time,pair\n1,BTC-USD\n", None, ["no column when", "time, pair"]),
        ("when,pair\n1699999994000,BTC-USD\n", Some("asset"), ["no column asset", "when, pair"]),
        ("when,price\n1699999994000,1\n", None, ["price", "already"]),
        ("when\n1699999994000\nyesterday\n", None, ["line 3", "yesterday"]),
        ("when\n1700000000\n", None, ["line 2", "seconds"]),
        ("when,pair\n1699999994000,BTCUSD\n", Some("pair"), ["line 2", "column pair"]),
    ] {
        let error = format!("{:#}", annotated(text, pair_column, None).await.unwrap_err());
        for fragment in fragments {
            assert!(error.contains(fragment), "{fragment}: {error}");
        }
    }
}
