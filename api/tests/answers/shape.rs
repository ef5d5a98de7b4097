//! Tests of errors and of what all responses have in common.

use serde_json::json;

use crate::rig::{Rig, at, gap, tick};

#[tokio::test]
async fn a_bad_parameter_is_named() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let (from, to) = (at(20).unix_millis(), at(10).unix_millis());
    let crossed = format!("/v1/prices/BTC-USD/history?from={from}&to={to}");
    let crossed_gaps = format!("/v1/prices/BTC-USD/gaps?from={from}&to={to}");
    for (path, parameter) in [
        ("/v1/prices/BTCUSD", "pair"),
        ("/v1/prices/BTCUSD/averages", "pair"),
        ("/v1/ticks/first", "sequence"),
        ("/v1/ticks/-1", "sequence"),
        ("/v1/prices/BTC-USD/averages?window=ten", "window"),
        ("/v1/prices/BTC-USD/averages?window=", "window"),
        ("/v1/prices/BTC-USD/averages?window=49h", "window"),
        ("/v1/prices/BTC-USD/averages?window=5s", "window"),
        (
            "/v1/prices/BTC-USD/averages?window=1m,2m,3m,4m,5m,6m,7m,8m,9m,10m,11m,12m,13m,14m,15m,16m,17m",
            "window",
        ),
        ("/v1/prices/BTC-USD/averages?min_coverage=most", "min_coverage"),
        ("/v1/prices/BTC-USD/averages?min_coverage=101%25", "min_coverage"),
        ("/v1/prices/BTC-USD/averages?at_sequence=0", "at_sequence"),
        ("/v1/prices?at_sequence=first", "at_sequence"),
        ("/v1/ticks/1?at_sequence=-1", "at_sequence"),
        ("/v1/prices/BTC-USD/candles", "interval"),
        ("/v1/prices/BTC-USD/candles?interval=2m", "interval"),
        ("/v1/prices/BTC-USD/candles?interval=1m&limit=0", "limit"),
        ("/v1/prices/BTC-USD/candles?interval=1m&cursor=7", "cursor"),
        ("/v1/prices/BTC-USD/history?limit=0", "limit"),
        ("/v1/prices/BTC-USD/history?limit=10001", "limit"),
        ("/v1/prices/BTC-USD/history?limit=many", "limit"),
        ("/v1/prices/BTC-USD/history?from=yesterday", "from"),
        ("/v1/prices/BTC-USD/history?from=1700000000", "from"),
        ("/v1/prices/BTC-USD/history?to=-1", "to"),
        (crossed.as_str(), "from"),
        ("/v1/prices/BTC-USD/history?order=up", "order"),
        ("/v1/prices/BTC-USD/history?cursor=7", "cursor"),
        ("/v1/prices/BTC-USD/history?cursor=d%2B5", "cursor"),
        ("/v1/prices/BTC-USD/history?cursor=a1700000000000&order=desc", "cursor"),
        ("/v1/prices/BTC-USD/history?format=xml", "format"),
        ("/v1/prices/BTC-USD/history?max_points=3", "max_points"),
        ("/v1/prices/BTC-USD/history?max_points=10001", "max_points"),
        ("/v1/prices/BTC-USD/history?max_points=9&limit=9", "max_points"),
        ("/v1/prices/BTC-USD/history?max_points=9&cursor=d1700000000000", "max_points"),
        ("/v1/convert?to=BTC", "from"),
        ("/v1/convert?from=ETH", "to"),
        ("/v1/convert?from=E-H&to=BTC", "from"),
        ("/v1/convert?from=ETH&to=eth", "to"),
        ("/v1/convert?from=BTC&to=USD&amount=0", "amount"),
        ("/v1/convert?from=BTC&to=USD&amount=-1", "amount"),
        ("/v1/convert?from=BTC&to=USD&amount=1e3", "amount"),
        ("/v1/convert?from=BTC&to=USD&amount=1000000000000000", "amount"),
        ("/v1/convert?from=BTC&to=USD&amount=0.0000000000000000001", "amount"),
        ("/v1/prices/BTCUSD/gaps", "pair"),
        ("/v1/prices/BTC-USD/gaps?limit=0", "limit"),
        ("/v1/prices/BTC-USD/gaps?limit=10001", "limit"),
        ("/v1/prices/BTC-USD/gaps?from=yesterday", "from"),
        ("/v1/prices/BTC-USD/gaps?to=1700000000", "to"),
        (crossed_gaps.as_str(), "from"),
        ("/v1/prices/BTC-USD/gaps?order=up", "order"),
        ("/v1/prices/BTC-USD/gaps?cursor=7", "cursor"),
        ("/v1/prices/BTC-USD/gaps?cursor=d1700000000000&order=asc", "cursor"),
        ("/v1/prices/BTC-USD/gaps?cause=lunch", "cause"),
        ("/v1/prices/BTC-USD/gaps?cause=", "cause"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.body["code"], json!("invalid_parameter"), "{path}");
        assert_eq!(answer.body["parameter"], json!(parameter), "{path}");
        assert!(!answer.body["detail"].as_str().unwrap().contains("string_"), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_with_the_nearest_known_one() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for (path, parameter, fragment) in [
        ("/v1/prices/BTC-USD/averages?windw=1h", "windw", "`window`"),
        ("/v1/prices/BTC-USD/history?from=0&limt=5", "limt", "`limit`"),
        ("/v1/prices/BTC-USD/history?LIMIT=5", "LIMIT", "`limit`"),
        ("/v1/prices/BTC-USD/history?%6Cimt=5", "limt", "`limit`"),
        ("/v1/stream?pair=BTC-USD", "pair", "`pairs`"),
        ("/v1/stream?format=sse,", "format", "`sse`"),
        ("/v1/ws?afterr=1", "afterr", "`after`"),
        ("/v1/pairs?zzz", "zzz", "at_sequence"),
        ("/v1/ticks/1?=1", "", "at_sequence"),
        ("/v1/prices?%FF=1", "%FF", "not UTF-8"),
        ("/v1/prices/BTC-USD/history?limit=5&limit=5", "limit", "repeated"),
        ("/v1/prices/BTC-USD/history?limit=5&l%69mit=6", "limit", "repeated"),
        ("/v1/pairs?at_sequence=1&at_sequence=1", "at_sequence", "repeated"),
        ("/v1/prices/BTC-USD/history?limit=abc", "limit", "from 1 to 10000"),
        ("/v1/prices/BTC-USD/history?limit=-1", "limit", "`-1`"),
        ("/v1/prices/BTC-USD/history?limit=%2B1", "limit", "`+1`"),
        ("/v1/prices/BTC-USD/history?limit=", "limit", "from 1 to 10000"),
        ("/v1/prices/BTC-USD/history?limit=99999999999999999999", "limit", "from 1 to 10000"),
        ("/v1/prices/BTC-USD/history?order=up", "order", "asc, desc"),
        ("/v1/prices/BTC-USD/history?order=DESC", "order", "`desc`"),
        ("/v1/prices/BTC-USD/candles?interval=15min", "interval", "`15m`"),
        ("/v1/prices/BTC-USD/gaps?cause=miss", "cause", "`missed`"),
        ("/v1/prices/BTC-USD/history?cursor=%C3", "cursor", "not UTF-8"),
        ("/v1/pairs?at_sequence=x", "at_sequence", "`x`"),
        ("/v1/ticks/abc", "sequence", "18446744073709551615"),
        ("/v1/ticks/99999999999999999999", "sequence", "18446744073709551615"),
        ("/v1/prices/BTC-USD/gaps?from=2023-11-14T00:00:00+01:00", "from", "2023-11-14T00:00:00%2B01:00"),
        ("/v1/prices/BTC-USD/gaps?from=2023-11-14T00:00:00", "from", "2023-11-14T00:00:00Z"),
        ("/v1/prices/BTC-USD/gaps?to=2023-11-31", "to", "2023-11-31"),
        ("/v1/prices/BTC-USD?at=2023-11-14", "at", "/v1/prices/{pair}/at?time="),
        ("/v1/prices/BTC-USD/history?time=2023-11-14", "time", "/v1/prices/{pair}/at?time="),
        ("/v1/prices?timestamp=1", "timestamp", "/v1/prices/{pair}/at?time="),
        ("/v1/prices/BTC-USD/at?at=2023-11-14", "at", "`time`"),
        ("/v1/prices/BTC-USD/candles", "interval", "1m, 5m, 15m, 1h, 4h, 1d"),
        ("/v1/prices/BTC-USD/candles?limit=5", "interval", "1m, 5m, 15m, 1h, 4h, 1d"),
        ("/v1/convert?from=BTC&to=USD&amount=-1", "amount", "above zero"),
        ("/v1/convert?from=BTC&to=USD&amount=-0.5", "amount", "above zero"),
        ("/v1/prices/BTC-USD/averages?window=60m,1h", "window", "1h"),
        ("/v1/prices/BTC%FFUSD", "pair", "not UTF-8"),
        ("/v1/prices/BTC-USD/candles?interval=1", "interval", "mean `1m`?"),
        ("/v1/prices/BTC-USD/candles?interval=60", "interval", "mean `1h`?"),
        ("/v1/prices/BTC-USD/candles?interval=86400", "interval", "mean `1d`?"),
        ("/v1/prices/BTC-USD/candles?interval=7", "interval", "`7` is not one of 1m, 5m, 15m, 1h, 4h, 1d"),
        ("/v1/prices/BTC-USD/gaps?format=csv", "format", "tickwell export --gaps"),
        ("/v1/prices?format=csv", "format", "only returns JSON"),
        ("/v1/prices/BTC-USD/gaps?merge=1", "merge", "`1` is not `true` or `false`"),
        ("/v1/prices/BTC-USD/gaps?from=20231114", "from", "write 2023-11-14"),
        ("/v1/prices/BTC-USD/gaps?from=20231131", "from", "looks like seconds"),
        (
            "/v1/prices/BTC-USD/gaps?from=2023-11-14T01:00",
            "from",
            "no seconds and no time zone; write 2023-11-14T01:00:00Z",
        ),
        ("/v1/prices/BTC-USD/gaps?from=2023-11-14T01:00Z", "from", "no seconds; write 2023-11-14T01:00:00Z"),
        ("/v1/prices/BTC-USD/at?time=2023-11-31", "time", "no day 2023-11-31"),
        ("/v1/prices/BTC-USD/at?time=2023-11-31T01:00:00Z", "time", "no day 2023-11-31"),
        ("/v1/prices/BTC-USD/at?time=now", "time", "unix milliseconds"),
        ("/v1/prices/BTC-USD/at?time=29.11.2023", "time", "a date like"),
        ("/v1/prices/BTC-USD/at?time=2023-11-14T25:00:00Z", "time", "a date like"),
        ("/v1/prices/BTCUSD", "pair", "mean `BTC-USD`?"),
        ("/v1/prices/btc%20usd/at?time=1", "pair", "mean `BTC-USD`?"),
        ("/v1/prices/bitcoin", "pair", "mean `BTC-USD`?"),
        ("/v1/prices/BTC", "pair", "mean `BTC-USD`?"),
        ("/v1/prices?pairs=BTC-USD,BTCUSD", "pairs", "mean `BTC-USD`?"),
        ("/v1/stream?pairs=btcusd", "pairs", "mean `BTC-USD`?"),
        ("/v1/prices/ETHUSD", "pair", "/v1/pairs"),
        ("/v1/prices/ethereum", "pair", "/v1/pairs"),
        ("/v1/ticks/latest", "sequence", "`sequence`"),
        ("/v1/ticks/%FF", "sequence", "not UTF-8"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_parameter")), "{path}");
        assert_eq!(answer.body["parameter"], json!(parameter), "{path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(fragment), "{path}: {detail}");
    }
    let long = "x".repeat(7_000);
    let answer = rig.get(&format!("/v1/pairs?{long}={long}")).await;
    assert!(answer.body["detail"].as_str().unwrap().len() < 200, "{}", answer.body);
    // Empty parameters are harmless, and the routes for operators accept any parameter.
    for path in ["/v1/pairs?", "/v1/pairs?&&", "/livez?probe=1", "/readyz?verbose&x=1", "/openapi.json?x=1"] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
    assert_eq!(rig.get("/v1/nothing?x=1").await.status, 404);
}

#[tokio::test]
async fn a_problem_suggests_what_was_probably_meant() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), gap("ADA-USD", 10, 10)]).await;
    for (path, code, parameter, fragment) in [
        ("/v1/pairs/", "not_found", None, "/v1/pairs"),
        ("/v1/prices/BTC-USD/", "not_found", None, "/v1/prices/BTC-USD"),
        ("/v1/price/BTC-USD", "not_found", None, "`/v1/prices/BTC-USD`"),
        ("/v1/prices/BTC-USD/histroy?limit=1", "not_found", None, "`/v1/prices/BTC-USD/history`"),
        ("/v1/zzz", "not_found", None, "/docs"),
        ("/health", "not_found", None, "/livez"),
        ("/v1/status", "not_found", None, "/readyz"),
        ("/stream", "not_found", None, "`/v1/stream`"),
        ("/prices/BTC-USD", "not_found", None, "`/v1/prices/BTC-USD`"),
        ("/v1/history/BTC-USD", "not_found", None, "`/v1/prices/BTC-USD/history`"),
        ("/v1/candles/BTC-USD/", "not_found", None, "`/v1/prices/BTC-USD/candles`"),
        ("/v1/prices/BTC/USD", "not_found", None, "`/v1/prices/BTC-USD`"),
        ("/v1/prices/btc/usd/gaps", "not_found", None, "`/v1/prices/btc-usd/gaps`"),
        ("/api/v3simple/price", "not_found", None, "must end with a slash"),
        ("/api/v3zzz", "not_found", None, "/docs"),
        ("/v1/ticks", "not_found", None, "`/v1/ticks/{sequence}`"),
        ("/v1/ticks/", "not_found", None, "`/v1/ticks/{sequence}`"),
        ("/v1/prices/BTC-EUR", "unknown_pair", Some("pair"), "its pairs are ADA-USD, BTC-USD"),
        ("/v1/prices/BTC-EUR", "unknown_pair", Some("pair"), "feed.pairs"),
        ("/v1/", "not_found", None, "/docs"),
        ("/v1/prices/DOGE-USD", "unknown_pair", Some("pair"), "DOGE-USD"),
        ("/v1/prices/DOGE-USD/candles?interval=1m", "unknown_pair", Some("pair"), "DOGE-USD"),
        ("/v1/prices?pairs=BTC-USD,DOGE-USD", "unknown_pair", Some("pairs"), "DOGE-USD"),
        ("/v1/ticks/99999999", "unknown_sequence", Some("sequence"), "99999999"),
        ("/v1/prices?pairs=BTC-USD,ADA-USD", "no_price_yet", None, "ADA-USD"),
        ("/v1/convert?from=ADA&to=USD", "no_price_yet", None, "ADA-USD"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(
            (&answer.body["code"], answer.body["parameter"].as_str()),
            (&json!(code), parameter),
            "{path}"
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(fragment), "{path}: {detail}");
    }
}

#[tokio::test]
async fn true_and_false_may_have_any_case() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), gap("BTC-USD", 20, 20), gap("BTC-USD", 30, 30)]).await;
    for (merge, count) in [("true", 1), ("True", 1), ("TRUE", 1), ("false", 2), ("False", 2)] {
        let gaps = rig.get(&format!("/v1/prices/BTC-USD/gaps?merge={merge}")).await;
        assert_eq!(gaps.body["items"].as_array().map(Vec::len), Some(count), "{merge}: {}", gaps.body);
    }
}

#[tokio::test]
async fn a_cursor_that_is_ahead_of_the_pod_does_not_end_the_list() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("BTC-USD", 20, "101")]).await;
    let later = at(30).unix_millis();
    for list in ["history?", "gaps?", "candles?interval=1m&"] {
        for order in ["asc", "desc"] {
            let mark = &order[..1];
            let path = format!("/v1/prices/BTC-USD/{list}order={order}&cursor={mark}{later}");
            let behind = rig.get(&path).await;
            assert_eq!((behind.status, &behind.body["code"]), (409, &json!("sequence_ahead")), "{path}");
            assert_eq!(
                (&behind.body["parameter"], behind.header("retry-after")),
                (&json!("cursor"), Some("1"))
            );
            // With at_sequence, waiting does not help, so the status is not 409.
            let pinned = rig.get(&format!("{path}&at_sequence=1")).await;
            assert_eq!((pinned.status, &pinned.body["parameter"]), (400, &json!("cursor")), "{path}");
        }
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for (path, code) in [
        ("/v1/prices/BTC-EUR", "unknown_pair"),
        ("/v1/prices/BTC-EUR/gaps", "unknown_pair"),
        ("/v1/ticks/99", "unknown_sequence"),
        ("/v1/nothing", "not_found"),
    ] {
        let answer = rig.get(path).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!(code)), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    for path in ["/v1/prices", "/livez", "/docs", "/openapi.json", "/metrics"] {
        let posted = rig.client().post(path).send().await;
        posted.assert_status(poem::http::StatusCode::METHOD_NOT_ALLOWED);
        posted.assert_content_type("application/problem+json");
        posted.assert_header("allow", "GET, HEAD");
    }
}

#[tokio::test]
async fn a_format_that_a_route_does_not_have_is_refused() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for path in [
        "/v1/pairs",
        "/v1/prices/BTC-USD",
        "/v1/prices/BTC-USD/gaps",
        "/v1/prices/BTC-USD/at?time=1700000000000",
        "/v1/ticks/1",
        "/v1/convert?from=BTC&to=USD",
    ] {
        for accept in ["text/csv", "application/x-ndjson, text/csv;q=0.5", "application/json;q=0"] {
            let refused = rig.get_as(path, accept).await;
            assert_eq!(
                (refused.status, &refused.body["code"]),
                (406, &json!("not_acceptable")),
                "{path} {accept}"
            );
        }
        for accept in
            ["*/*", "text/csv, */*;q=0.1", "application/json", "application/*", "text/csv, application/json"]
        {
            assert_eq!(rig.get_as(path, accept).await.status, 200, "{path} {accept}");
        }
    }
    // These routes have the format. `/openapi.json` is not a route of /v1.
    assert_eq!(rig.get_as("/v1/prices/BTC-USD/history", "text/csv").await.status, 200);
    assert_eq!(rig.get_as("/v1/prices/BTC-USD/history?format=json", "text/csv").await.status, 200);
    assert_eq!(rig.get_as("/openapi.json", "text/csv").await.status, 200);
}

#[tokio::test]
async fn a_date_is_the_start_of_a_day_in_utc() {
    let mut rig = Rig::new();
    // The slots of the tests begin at the start of a day.
    rig.send([-10, 0, 10].map(|second| tick("BTC-USD", second, "1")).to_vec()).await;
    let day = at(0).to_string().split('T').next().unwrap().to_owned();
    for (list, query) in [("history", "from"), ("history", "to"), ("gaps", "from"), ("candles", "to")] {
        let interval = if list == "candles" { "interval=1m&" } else { "" };
        let ask =
            async |time: &str| rig.get(&format!("/v1/prices/BTC-USD/{list}?{interval}{query}={time}")).await;
        let (dated, timed) = (ask(&day).await, ask(&at(0).to_string()).await);
        assert_eq!((dated.status, dated.body), (200, timed.body), "{list} {query}");
    }
    let found = rig.get(&format!("/v1/prices/BTC-USD/at?time={day}")).await;
    assert_eq!(found.body["items"][0]["slot"], json!(at(0).to_string()));
}

#[tokio::test]
async fn a_request_body_is_refused() {
    let rig = Rig::new();
    for (name, value) in [("content-length", "3"), ("transfer-encoding", "chunked")] {
        let answer = rig.ask("/v1/pairs", &[(name, value)]).await;
        assert_eq!((answer.status, &answer.body["parameter"]), (400, &json!("body")), "{name}");
    }
    assert_eq!(rig.ask("/v1/pairs", &[("content-length", "0")]).await.status, 200);
}

#[tokio::test]
async fn a_problem_carries_the_trace_id_of_its_request() {
    let rig = Rig::new();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let valid = format!("00-{id}-00f067aa0ba902b7-01");
    let invalid = format!("00-{id}-0000000000000000-01");
    for path in ["/v1/nothing", "/v1/prices", "/v1/pairs?x=1", "/v1/pairs?at_sequence=0", "/docs/nothing"] {
        let answer = rig.ask(path, &[("traceparent", valid.as_str())]).await;
        assert_eq!(answer.body["trace_id"], json!(id), "{path}");
        let (one, other) = (rig.get(path).await, rig.ask(path, &[("traceparent", &invalid)]).await);
        let trace = |answer: &crate::rig::Answer| answer.body["trace_id"].as_str().unwrap().to_owned();
        assert_eq!(trace(&one).len(), 32, "{path}");
        assert!(trace(&one) != trace(&other) && trace(&other) != id, "{path}");
    }
}

#[tokio::test]
async fn every_route_supports_head_requests() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    for path in [
        "/v1/pairs",
        "/v1/prices/BTC-USD",
        "/v1/prices/BTC-USD/gaps",
        "/v1/prices/BTC-USD/history?format=csv",
        "/v1/prices/BTC-USD/at?time=1700000000000",
        "/v1/convert?from=BTC&to=USD",
        "/v1/sources",
        "/v1/ticks/1",
        "/livez",
        "/metrics",
        "/docs",
        "/openapi.json",
    ] {
        let response = rig.client().head(path).send().await;
        assert_eq!(response.0.status().as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn documents_are_served_and_need_no_other_host() {
    let rig = Rig::new();
    let start = rig.get("/").await;
    assert_eq!((start.status, start.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let openapi = rig.get("/openapi.json").await.body;
    for path in [
        "/v1/pairs",
        "/v1/prices",
        "/v1/prices/{pair}",
        "/v1/prices/{pair}/averages",
        "/v1/prices/{pair}/history",
        "/v1/prices/{pair}/gaps",
        "/v1/prices/{pair}/at",
        "/v1/prices/{pair}/candles",
        "/v1/ticks/{sequence}",
        "/v1/convert",
        "/v1/sources",
    ] {
        let operation = &openapi["paths"][path]["get"];
        assert!(operation["operationId"].is_string(), "{path}");
        let parameters = operation["parameters"].as_array().unwrap();
        let pinning = parameters.iter().find(|parameter| parameter["name"] == "at_sequence");
        assert!(pinning.is_some_and(|parameter| parameter["in"] == "query"), "{path}: {operation}");
    }
    let mut docs = rig.client().get("/docs").send().await;
    docs.assert_status_is_ok();
    let page = docs.0.take_body().into_string().await.unwrap();
    for foreign in ["src=\"http", "src='http", "rel=\"stylesheet\" href=\"http", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
