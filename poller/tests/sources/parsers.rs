//! Tests of every parser with arbitrary bytes, arbitrary JSON and mutated responses. A parser never panics, and
//! every price that it returns is in the body, in the right place for its pair.

use std::{fs, path::Path};

use common::domain::{Pair, Reported};
use poller::source::{Exchange, Market, exchanges};
use proptest::prelude::*;

use crate::oracle::{self, Part};

/// A form of an exchange's responses: a valid body, and the markets that were asked for.
#[derive(Debug, Clone)]
struct Form {
    exchange: &'static dyn Exchange,
    markets: Vec<Market>,
    body: String,
}

/// Every exchange's response to a request for BTC and ETH, in USD, or in USDT if the exchange has no USD markets. If the
/// exchange can also be asked for one market alone, its response about BTC too.
fn forms() -> Vec<Form> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fuzz/seeds");
    let mut forms = Vec::new();
    for exchange in exchanges::ALL {
        let has_usd = exchange.market("BTC-USD".parse().unwrap()).is_some();
        let quote = if has_usd { "USD" } else { "USDT" };
        let is_wanted = |pair: &Pair| pair.quote() == quote && ["BTC", "ETH"].contains(&pair.base());
        let markets = exchange.markets(&oracle::pairs().filter(is_wanted).collect::<Vec<_>>());
        let mut add = |file: &str, most: usize| {
            let path = seeds.join(format!("{exchange}/{file}"));
            let body =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let markets = exchange.requests(&markets, most).swap_remove(0).markets;
            forms.push(Form { exchange: *exchange, markets, body: body.trim_end().to_owned() });
        };
        // If no requests for single markets are left, the exchange is asked for all markets at once.
        add("prices.json", 0);
        if exchange.requests(&markets, usize::MAX).len() > 1 {
            add("ticker.json", usize::MAX);
        }
    }
    forms
}

/// Parses a body and compares every price with the oracle. Returns the number of prices.
fn check(exchange: &dyn Exchange, markets: &[Market], body: &[u8]) -> Result<usize, TestCaseError> {
    let Ok(answers) = exchange.read(body, markets) else { return Ok(0) };
    prop_assert_eq!(answers.len(), markets.len());
    let body = std::str::from_utf8(body).unwrap();
    let mut prices = 0;
    for (pair, answer) in answers {
        let Ok(sample) = answer else { continue };
        prices += 1;
        let Reported { last, bid, ask } = sample.reported;
        prop_assert!(
            last.is_some() || bid.zip(ask).is_some(),
            "{exchange} read no price for {pair} from {body}"
        );
        for (part, price) in [(Part::Last, last), (Part::Bid, bid), (Part::Ask, ask)] {
            let Some(price) = price.map(|price| price.to_string()) else { continue };
            let texts = oracle::prices(exchange.name(), body, pair, part);
            prop_assert!(
                texts.iter().any(|text| oracle::is_same(text, &price)),
                "{exchange} read {price} as {part:?} of {pair} from {body}"
            );
        }
    }
    Ok(prices)
}

#[test]
fn valid_bodies_have_a_price_for_every_pair() {
    for Form { exchange, markets, body } in forms() {
        assert_eq!(check(exchange, &markets, body.as_bytes()).unwrap(), markets.len(), "{exchange}");
    }
}

#[test]
fn bodies_that_are_not_valid_json_are_malformed() {
    use common::domain::Failure::Malformed;
    for Form { exchange, markets, body: valid } in forms() {
        let price = if valid.contains("97012.30") { "\"97012.30\"" } else { "97012.3" };
        for token in ["NaN", "Infinity", "-Infinity", "+1", ".5", "1.", "0x10", "01", "1_000", "'1'"] {
            let body = valid.replace(price, token);
            assert_ne!(body, valid);
            assert_eq!(exchange.read(body.as_bytes(), &markets), Err(Malformed), "{exchange} {token}");
        }
        for body in [format!("\u{feff}{valid}"), format!("{valid}{valid}"), valid[1..].to_owned()] {
            assert_eq!(exchange.read(body.as_bytes(), &markets), Err(Malformed), "{exchange} {body}");
        }
        // Add invalid UTF-8, if possible in a member that the parser does not read.
        let mut bytes = valid.as_bytes().to_vec();
        match valid.rfind('}') {
            Some(end) => bytes.splice(end..end, *b",\"more\":\"\xff\"").for_each(drop),
            None => bytes.splice(2..2, [0xff]).for_each(drop),
        }
        assert_eq!(exchange.read(&bytes, &markets), Err(Malformed), "{exchange}");
        for depth in [100, 10_000] {
            let deep = [vec![b'['; depth], vec![b']'; depth]].concat();
            let answers = exchange.read(&deep, &markets);
            assert!(answers.is_err(), "{exchange} {answers:?}");
            let buried = valid.replacen(price, &String::from_utf8(deep).unwrap(), 1);
            let answers = exchange.read(buried.as_bytes(), &markets);
            assert!(answers.is_err() || answers.unwrap()[&markets[0].pair].is_err(), "{exchange}");
        }
    }
}

fn any_form() -> impl Strategy<Value = Form> {
    proptest::sample::select(forms())
}

/// JSON made of words from the exchanges' formats, so that it resembles their responses.
fn json() -> impl Strategy<Value = String> {
    let words = [
        "error",
        "result",
        "XXBTZUSD",
        "XBTUSD",
        "c",
        "price",
        "time",
        "pair",
        "BTC/USD",
        "last",
        "bid",
        "ask",
        "b",
        "a",
        "timestamp",
        "BTCUSD",
        "BTCUSDT",
        "symbol",
        "tBTCUSD",
        "bitcoin",
        "usd",
        "last_updated_at",
        "code",
        "status",
        "2026-11-21T00:00:10Z",
        "1643640186",
        "97012.30",
        "0",
        "-1",
        "1e5",
        "",
    ];
    let word = move || proptest::sample::select(words.to_vec()).prop_map(|word| format!("{word:?}"));
    let number = "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,16})?([eE][-+]?[0-9]{1,3})?";
    let leaf = prop_oneof![word(), number, Just("null".to_owned()), Just("true".to_owned())];
    leaf.prop_recursive(4, 40, 12, move |inner| {
        let array = proptest::collection::vec(inner.clone(), 0..12);
        let object = proptest::collection::vec((word(), inner), 0..6);
        prop_oneof![
            array.prop_map(|items| format!("[{}]", items.join(","))),
            object.prop_map(|fields| {
                let fields: Vec<String> =
                    fields.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// A mutation of a body.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = any::<prop::sample::Index>;
    let text = prop_oneof!["[-0-9.eE\"\\[\\]{},:tf]{1,3}", "[ -~]{1,4}"];
    let change = prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (place(), 1_usize..8).prop_map(|(at, length)| Change::Cut(at, length)),
        (place(), 1_usize..60).prop_map(|(at, length)| Change::Repeat(at, length)),
        (place(), text).prop_map(|(at, text)| Change::Insert(at, text)),
    ];
    proptest::collection::vec(change, 1..4)
}

fn apply(body: &mut Vec<u8>, change: Change) {
    if body.is_empty() {
        return;
    }
    let length = body.len();
    match change {
        Change::Flip(at, byte) => body[at.index(length)] = byte,
        Change::Cut(at, by) => {
            let at = at.index(length);
            body.drain(at..length.min(at + by));
        }
        Change::Repeat(at, by) => {
            let at = at.index(length);
            let part = body[at..length.min(at + by)].to_vec();
            body.splice(at..at, part);
        }
        Change::Insert(at, text) => {
            let at = at.index(length);
            body.splice(at..at, text.into_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn arbitrary_bytes(form in any_form(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(form.exchange, &form.markets, &body)?;
    }

    #[test]
    fn arbitrary_json(form in any_form(), body in json()) {
        check(form.exchange, &form.markets, body.as_bytes())?;
        let _list = form.exchange.parse_list(&body);
    }

    #[test]
    fn mutated_responses(form in any_form(), changes in changes()) {
        let mut body = form.body.clone().into_bytes();
        for change in changes {
            apply(&mut body, change);
        }
        check(form.exchange, &form.markets, &body)?;
    }
}
