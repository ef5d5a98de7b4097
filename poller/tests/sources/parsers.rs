//! Every parser against arbitrary bytes, arbitrary JSON and mutilated answers: it never panics, and a price
//! that comes out stands in the body, at its place, for its pair.

use common::domain::{Pair, Words};
use poller::source::Exchange;
use proptest::prelude::*;

use crate::oracle::stands_in;

/// A body as the exchange's contract has it, for [`pairs`].
fn valid(exchange: Exchange) -> &'static str {
    match exchange {
        Exchange::Kraken => {
            r#"{"error":[],"result":{"XXBTZUSD":{"a":["1.0","1","1"],"c":["97012.30","0.1"]},"XETHZUSD":{"c":["3400.10","0.2"]}}}"#
        }
        Exchange::Coinbase => {
            r#"{"trade_id":1,"price":"97012.30","bid":"1","ask":"2","time":"2026-11-21T00:00:10.5Z"}"#
        }
        Exchange::Bitstamp => {
            r#"[{"timestamp":"1643640186","last":"97012.30","bid":"1","pair":"BTC/USD"},{"pair":"ETH/USD","last":"3400.10","timestamp":"1643640186"}]"#
        }
        Exchange::Gemini => {
            r#"[{"pair":"BTCUSD","price":"97012.30","percentChange24h":"0.1"},{"pair":"ETHUSD","price":"3400.10"}]"#
        }
        Exchange::Bitfinex => {
            r#"[["tBTCUSD",1,2,3,4,5,6,97012.3,8,9,10],["tETHUSD",1,2,3,4,5,6,3.4001e3,8,9,10]]"#
        }
        Exchange::Binance => {
            r#"[{"symbol":"BTCUSDT","price":"97012.30"},{"symbol":"ETHUSDT","price":"3400.10"}]"#
        }
        Exchange::Coingecko => {
            r#"{"bitcoin":{"usd":97012.3,"last_updated_at":1779092258},"ethereum":{"usd":3.4001E+3,"last_updated_at":1779092258}}"#
        }
    }
}

fn pairs(exchange: Exchange) -> Vec<Pair> {
    let quote = if exchange == Exchange::Binance { "USDT" } else { "USD" };
    // Coinbase's answers do not name their pair: each is about the one it was asked for.
    let bases: &[&str] = if exchange == Exchange::Coinbase { &["BTC"] } else { &["BTC", "ETH"] };
    bases.iter().map(|base| format!("{base}-{quote}").parse().unwrap()).collect()
}

/// Parses, and holds every price against the oracle. Answers how many there were.
fn check(exchange: Exchange, body: &[u8]) -> Result<usize, TestCaseError> {
    let _ = exchange.complaint(body);
    let Ok(answers) = exchange.parse(body, &pairs(exchange)) else { return Ok(0) };
    prop_assert_eq!(answers.len(), pairs(exchange).len());
    let mut prices = 0;
    for (pair, answer) in answers {
        if let Ok(sample) = answer {
            prices += 1;
            let text = String::from_utf8_lossy(body);
            prop_assert!(
                stands_in(exchange, body, pair, sample.price),
                "{exchange} read {} for {pair} from {text}",
                sample.price
            );
        }
    }
    Ok(prices)
}

#[test]
fn valid_bodies_have_a_price_for_every_pair() {
    for exchange in Exchange::ALL {
        let found = check(*exchange, valid(*exchange).as_bytes()).unwrap();
        assert_eq!(found, pairs(*exchange).len(), "{exchange}");
    }
}

/// What follows a token that no number has, or a byte order mark, is no JSON.
#[test]
fn what_json_does_not_have_is_malformed() {
    use common::domain::Failure::Malformed;
    for exchange in Exchange::ALL {
        let (valid, pairs) = (valid(*exchange), pairs(*exchange));
        let price = if valid.contains("97012.30") { "\"97012.30\"" } else { "97012.3" };
        for token in ["NaN", "Infinity", "-Infinity", "+1", ".5", "1.", "0x10", "01", "1_000", "'1'"] {
            let body = valid.replace(price, token);
            assert_ne!(body, valid);
            assert_eq!(exchange.parse(body.as_bytes(), &pairs), Err(Malformed), "{exchange} {token}");
        }
        for body in [format!("\u{feff}{valid}"), format!("{valid}{valid}"), valid[1..].to_owned()] {
            assert_eq!(exchange.parse(body.as_bytes(), &pairs), Err(Malformed), "{exchange} {body}");
        }
        let mut bytes = valid.as_bytes().to_vec();
        bytes.splice(2..2, [0xff]);
        assert_eq!(exchange.parse(&bytes, &pairs), Err(Malformed), "{exchange}");
        for depth in [100, 10_000] {
            let deep = [vec![b'['; depth], vec![b']'; depth]].concat();
            let answers = exchange.parse(&deep, &pairs);
            assert!(answers.is_err(), "{exchange} {answers:?}");
            let buried = valid.replacen(price, &String::from_utf8(deep).unwrap(), 1);
            let answers = exchange.parse(buried.as_bytes(), &pairs);
            assert!(answers.is_err() || answers.unwrap()[&pairs[0]].is_err(), "{exchange}");
        }
    }
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    proptest::sample::select(Exchange::ALL)
}

/// JSON out of the words that the contracts have, so that it comes near to them.
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

/// Something done to a body.
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
    fn arbitrary_bytes(exchange in exchanges(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(exchange, &body)?;
    }

    #[test]
    fn arbitrary_json(exchange in exchanges(), body in json()) {
        check(exchange, body.as_bytes())?;
    }

    #[test]
    fn mutilated_answers(exchange in exchanges(), changes in changes()) {
        let mut body = valid(exchange).as_bytes().to_vec();
        for change in changes {
            apply(&mut body, change);
        }
        check(exchange, &body)?;
    }
}
