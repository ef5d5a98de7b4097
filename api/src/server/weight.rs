//! How much a request counts for the rate limit: as much as the response costs the pod, roughly.

use std::num::NonZeroU32;

use poem::Request;

use crate::routes::MAX_LIMIT;

/// A request counts once for each of this many items that it asks for. A response with this many items takes the pod about
/// ten times as long as a price.
const ITEMS: u32 = 1_000;

/// The parameters that ask for a number of items.
const PARAMETERS: [&str; 2] = ["limit", "max_points"];

/// How many requests this one counts as.
pub(super) fn weight(request: &Request) -> NonZeroU32 {
    let parameters: Vec<(String, String)> = match request.uri().query() {
        Some(_) => request.params().unwrap_or_default(),
        None => Vec::new(),
    };
    let asked = parameters.iter().filter(|(name, _)| PARAMETERS.contains(&name.as_str()));
    // If a value is not a number or too large, the request is refused later, and must not cost more than others.
    let items = asked
        .filter_map(|(_, value)| value.parse::<u32>().ok())
        .filter(|items| u64::from(*items) <= MAX_LIMIT)
        .max();
    items.and_then(|items| NonZeroU32::new(items.div_ceil(ITEMS))).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once_for_each_thousand_items_that_it_asks_for() {
        for (target, expected) in [
            ("/v1/prices/BTC-USD", 1),
            ("/v1/prices/BTC-USD/history", 1),
            ("/v1/prices/BTC-USD/history?limit=0", 1),
            ("/v1/prices/BTC-USD/history?limit=many", 1),
            ("/v1/prices/BTC-USD/history?limit=1000", 1),
            ("/v1/prices/BTC-USD/history?limit=10001", 1),
            ("/v1/prices/BTC-USD/history?limit=1001", 2),
            ("/v1/prices/BTC-USD/candles?interval=1m&limit=10000", 10),
            ("/v1/prices/BTC-USD/candles?l%69mit=%310000", 10),
            ("/v1/prices/BTC-USD/history?max_points=4001&order=asc", 5),
            ("/v1/prices/BTC-USD/gaps?limit=1&limit=5000", 5),
        ] {
            let request = Request::builder().uri_str(target).finish();
            assert_eq!(weight(&request).get(), expected, "{target}");
        }
    }
}
