//! What the server was asked.

use std::collections::VecDeque;

use crate::Venue;

/// Requests kept; the oldest go first. Hours of a poller's work at a slot a second, in about a megabyte.
const MAX_REQUESTS: usize = 10_000;

/// A request that has reached the server, whether or not it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The venue asked; `None` when the path names none.
    pub venue: Option<Venue>,
    /// What was asked of the venue, without the venue's name: `/0/public/Ticker?pair=XBTUSD`.
    pub path_and_query: String,
    /// When it came, unix time in milliseconds. The market was asked about this very time.
    pub time_ms: i64,
    /// The HTTP status of the answer; `None` when there is none.
    pub status: Option<u16>,
    /// The key that came with it, of the kinds that CoinGecko gives out.
    pub key: Option<SentKey>,
}

/// A key as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentKey {
    /// The header it came in, in small letters.
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
