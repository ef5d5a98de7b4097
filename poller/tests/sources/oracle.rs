//! Where a price stands in an answer, read by another reader than the product's.

use common::domain::{Pair, Price};
use poller::source::Exchange;
use serde_json::Value;

/// Whether this price is what a body says for a pair at the place where the exchange's contract has it.
pub(crate) fn stands_in(exchange: Exchange, body: &[u8], pair: Pair, price: Price) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return false };
    places(exchange, &body, pair).any(|value| match value {
        Value::String(text) => *text == price.to_string(),
        // Both readings of one number round alike.
        Value::Number(number) => price.to_string().parse() == Ok(number.as_f64().unwrap()),
        _ => false,
    })
}

fn places(exchange: Exchange, body: &Value, pair: Pair) -> Box<dyn Iterator<Item = &Value> + '_> {
    let (base, quote) = (pair.base().to_owned(), pair.quote().to_owned());
    let plain = format!("{base}{quote}");
    match exchange {
        Exchange::Kraken => {
            let base = if base == "BTC" { "XBT".to_owned() } else { base };
            let names = [format!("X{base}Z{quote}"), format!("X{base}X{quote}"), format!("{base}{quote}")];
            Box::new(names.into_iter().filter_map(|name| body["result"].get(name)).map(|row| &row["c"][0]))
        }
        Exchange::Coinbase => Box::new(std::iter::once(&body["price"])),
        Exchange::Bitstamp => Box::new(rows(body, "pair", format!("{base}/{quote}"), "last")),
        Exchange::Gemini => Box::new(rows(body, "pair", plain, "price")),
        Exchange::Binance => Box::new(rows(body, "symbol", plain, "price")),
        Exchange::Bitfinex => {
            let symbol = format!("t{plain}").replace("USDT", "UST");
            let named = move |row: &&Value| row[0].as_str() == Some(&symbol);
            Box::new(body.as_array().into_iter().flatten().filter(named).map(|row| &row[7]))
        }
        Exchange::Coingecko => {
            let coin = if base == "BTC" { "bitcoin" } else { "ethereum" };
            Box::new(std::iter::once(&body[coin][quote.to_lowercase()]))
        }
    }
}

fn rows<'a>(
    body: &'a Value,
    name: &'static str,
    expected: String,
    price: &'static str,
) -> impl Iterator<Item = &'a Value> {
    let named = move |row: &&Value| row[name].as_str() == Some(&expected);
    body.as_array().into_iter().flatten().filter(named).map(move |row| &row[price])
}
