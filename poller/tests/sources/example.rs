//! A worked example of an exchange, from its symbols to a price over HTTP. `CONTRIBUTING.md` walks through
//! it.
//!
//! The exchange is invented. A real one lives in `poller/src/source/exchanges`, and its `use` lines start
//! with `crate::source` instead of `poller::source`.

use std::{borrow::Cow, time::Duration};

use common::domain::{Failure, Interval, Pair};
use poller::source::{
    Client, Contact, EgressProxy, Setup, Source,
    exchange::{Exchange, ReportedError, Request, answers},
    http::HttpSource,
    interface::{Answers, Sample},
    json::{UniqueObject, only, price_of, rows, seconds_of},
    key::Plan,
    limit::Limit,
    market::Market,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::rests::{canned, response};

struct Example;

/// The price and the time of a row are parsed only if the row's market was requested. So an invalid row of another
/// market does not fail the whole response.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
}

impl Exchange for Example {
    fn name(&self) -> &'static str {
        "example"
    }

    fn base_url(&self, _plan: Option<Plan>) -> &'static str {
        "https://api.exchange.example"
    }

    fn limit(&self, _plan: Option<Plan>) -> Option<Limit> {
        // "20 requests per second": put the link to the documentation here.
        Some(Limit::new(20, 1))
    }

    /// `BTC_USD`
    fn market(&self, pair: Pair) -> Option<Market> {
        Some(Market::new(pair, format!("{}_{}", pair.base(), pair.quote())))
    }

    fn requests(&self, markets: &[Market], _most: usize) -> Vec<Request> {
        let symbols: Vec<&str> = markets.iter().map(|market| market.symbol.as_str()).collect();
        Request::for_all(format!("/v1/tickers?symbols={}", symbols.join(",")), markets)
    }

    /// `[{"symbol":"BTC_USD","last":"97012.30","time":1795219209}]`
    fn parse(&self, body: &str, markets: &[Market]) -> Result<Answers, Failure> {
        let rows: Vec<Row> = rows(body)?;
        let read = |market: &Market| {
            let row = only(rows.iter().filter(|row| market.has_name(&row.symbol)))?;
            Ok(Sample::traded(price_of(row.last)?, Some(seconds_of(row.time)?)))
        };
        Ok(answers(markets, read))
    }

    /// `{"error":"too_many_requests"}`
    fn parse_error(&self, body: &str) -> Option<ReportedError> {
        let members: UniqueObject = serde_json::from_str(body).ok()?;
        let error = members.text("error")?;
        Some(match error.as_ref() {
            "too_many_requests" => ReportedError::new(Failure::RateLimited),
            "unknown_symbol" => ReportedError::unknown_symbol(),
            _ => ReportedError::new(Failure::Refused),
        })
    }
}

/// Asks for BTC-USD and ETH-USD over HTTP, at a server that has one response for every request. Returns what
/// was read, and the request line.
async fn ask(status: &str, body: &str) -> (Answers, String) {
    let server = canned(&[response(status, "", body)]).await;
    let interval: Interval = "10s".parse().unwrap();
    let setup = Setup { url: server.url.clone(), key: None, interval };
    let (name, client) =
        ("example".parse().unwrap(), Client::new(&EgressProxy::Unset, &Contact::default()).unwrap());
    let source = HttpSource::new(name, &Example, setup, &crate::pairs(), client).unwrap();
    let slot = interval.slot_at("2026-11-21T00:00:10Z".parse().unwrap());
    let answers = source.ask(slot, Instant::now() + Duration::from_secs(60)).await;
    let request = server.requests.lock().unwrap()[0].lines().next().unwrap().to_owned();
    (answers, request)
}

#[tokio::test]
async fn one_request_brings_all_prices() {
    let body = r#"[{"symbol":"ETH_USD","last":"3400.10","time":1795219209},{"symbol":"BTC_USD","last":"97012.30","time":1795219209}]"#;
    let (answers, request) = ask("200 OK", body).await;
    assert_eq!(request, "GET /v1/tickers?symbols=BTC_USD,ETH_USD HTTP/1.1");
    for (pair, price) in crate::pairs().iter().zip(["97012.30", "3400.10"]) {
        let sample = answers[pair].unwrap();
        assert_eq!(sample.reported.last.unwrap().to_string(), price);
        assert_eq!(sample.trade_time.unwrap().to_string(), "2026-11-21T00:00:09.000Z");
    }
}

#[tokio::test]
async fn failures_have_names() {
    for (status, body, expected) in [
        ("200 OK", r#"{"error":"too_many_requests"}"#, Failure::RateLimited),
        ("400 Bad Request", r#"{"error":"too_many_requests"}"#, Failure::RateLimited),
        ("200 OK", r#"{"error":"unknown_symbol"}"#, Failure::Unlisted),
        ("400 Bad Request", r#"{"error":"maintenance"}"#, Failure::Refused),
        ("200 OK", "<html>", Failure::Malformed),
        ("200 OK", "[]", Failure::Missing),
        (
            "200 OK",
            r#"[{"symbol":"BTC_USD","last":"0","time":1},{"symbol":"ETH_USD","last":"-1","time":1}]"#,
            Failure::Invalid,
        ),
    ] {
        let (answers, _) = ask(status, body).await;
        assert_eq!(answers.into_values().collect::<Vec<_>>(), [Err(expected); 2], "{status} {body}");
    }
}
