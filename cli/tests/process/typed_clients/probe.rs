//! Prints the responses that a generated client read, as JSON: probe URL SEQUENCE TICK FROM

progenitor::generate_api!(spec = "openapi.json", interface = Builder);

use std::num::NonZeroU64;

use serde_json::json;

/// Requests a response at the sequence, and converts it to JSON.
macro_rules! found {
    ($request:expr) => {
        json!(&$request.send().await.expect("a response").into_inner())
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<NonZeroU64>().expect("a number");
    let (at, tick) = (number(&arguments[1]), number(&arguments[2]));
    let from: chrono::DateTime<chrono::Utc> = arguments[3].parse().expect("a time");
    let client = Client::new(&arguments[0]);

    let refused = client.get_price().pair("XXX-USD").send().await.expect_err("there is no such pair");
    assert_eq!(refused.status().map(|status| status.as_u16()), Some(404));

    let candles = client.get_candles().interval(types::GetCandlesInterval::X1m);
    let gaps = client.get_gaps().cause(types::GetGapsCause::Missed);
    let three = NonZeroU64::new(3).expect("three is not zero");
    let answers = json!({
        "price": found!(client.get_price().pair("BTC-USD").at_sequence(at)),
        "prices": found!(client.list_prices().at_sequence(at)),
        "pairs": found!(client.list_pairs().at_sequence(at)),
        "averages": found!(client.get_averages().pair("BTC-USD").at_sequence(at)),
        "convert": found!(client.convert().from("ETH").to("BTC").at_sequence(at)),
        "history": found!(client.get_history().pair("BTC-USD").from(from).limit(three).at_sequence(at)),
        "thinned": found!(client.get_history().pair("BTC-USD").max_points(4_i64).at_sequence(at)),
        "candles": found!(candles.pair("BTC-USD").at_sequence(at)),
        "gaps": found!(gaps.pair("BTC-USD").at_sequence(at)),
        "at": found!(client.get_prices_at().pair("BTC-USD").time(vec![from.into()]).at_sequence(at)),
        "tick": found!(client.get_tick().sequence(tick).at_sequence(at)),
        "sources": found!(client.list_sources().at_sequence(at)),
    });
    println!("{answers}");
}
