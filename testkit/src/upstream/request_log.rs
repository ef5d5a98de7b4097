//! What the server was asked.

use std::collections::VecDeque;

use crate::Venue;

/// Requests kept; the oldest go first. Hours of a poller's work at a slot a second, in about a megabyte.
const MAX_REQUESTS: usize = 10_000;

/// A request that the server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The venue asked; `None` when the path names none.
    pub venue: Option<Venue>,
    /// What was asked of the venue, without the venue's name: `/0/public/Ticker?pair=XBTUSD`.
    pub path_and_query: String,
    /// When it was answered, unix time in milliseconds. The market was asked about this very time.
    pub time_ms: i64,
    /// The HTTP status of the answer.
    pub status: u16,
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
        for time_ms in 0..10_002 {
            log.push(LoggedRequest { venue: None, path_and_query: String::new(), time_ms, status: 404 });
        }
        let times: Vec<i64> = log.all().into_iter().map(|request| request.time_ms).collect();
        assert_eq!((times.len(), times.first(), times.last()), (MAX_REQUESTS, Some(&2), Some(&10_001)));
    }
}
