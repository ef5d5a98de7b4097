//! The log of received requests.

use std::collections::VecDeque;

use crate::Venue;

/// How many requests are kept; the oldest are dropped first. This is enough for hours of polling once per second, and
/// needs about 1 MB.
const MAX_REQUESTS: usize = 10_000;

/// A request that has reached the server, whether or not there was a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The venue; `None` if the path does not name one.
    pub venue: Option<Venue>,
    /// Path and query, without the venue's name: `/0/public/Ticker?pair=XBTUSD`.
    pub path_and_query: String,
    /// When it was received, unix time in milliseconds. The response has the market's prices at exactly this time.
    pub time_ms: i64,
    /// The HTTP status of the response; `None` if there was none.
    pub status: Option<u16>,
    /// The CoinGecko key that was sent, if any.
    pub key: Option<SentKey>,
}

/// An API key in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentKey {
    /// The header that contained it, in lower case.
    pub header: String,
    /// The key itself.
    pub value: String,
}

#[derive(Debug, Default)]
pub(super) struct RequestLog {
    requests: VecDeque<LoggedRequest>,
}

impl RequestLog {
    pub(super) fn push(&mut self, request: LoggedRequest) {
        if self.requests.len() == MAX_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(super) fn all(&self) -> Vec<LoggedRequest> {
        self.requests.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_requests() {
        let mut log = RequestLog::default();
        let request = |time_ms| LoggedRequest {
            venue: None,
            path_and_query: String::new(),
            time_ms,
            status: Some(404),
            key: None,
        };
        (0..10_002).for_each(|time_ms| log.push(request(time_ms)));
        let times: Vec<i64> = log.all().into_iter().map(|request| request.time_ms).collect();
        assert_eq!((times.len(), times.first(), times.last()), (MAX_REQUESTS, Some(&2), Some(&10_001)));
    }
}
