//! How long to wait before the next request, according to a response.

use std::time::{Duration, SystemTime};

use common::domain::{Slot, Timestamp};
use reqwest::header::{AGE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use super::backoff::LONGEST_REST;

/// The server's time when it sent a response. Times in the response are relative to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseTime(SystemTime);

impl ResponseTime {
    /// The response's `Date` header, so that the server's clock does not have to agree with ours. Without that
    /// header, the start of the slot is used. The slot starts before the response is sent, so a wait is never too
    /// short.
    pub(super) fn new(headers: &HeaderMap, slot: Slot) -> Self {
        let millis = u64::try_from(slot.start().unix_millis()).unwrap_or(0);
        let slot = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        Self(date(headers, DATE).unwrap_or(slot))
    }

    /// How long to wait until a time in Unix seconds.
    pub(super) fn until_unix_seconds(self, seconds: i64) -> Duration {
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(seconds).map_or(LONGEST_REST, |until| self.until(until))
    }

    fn until(self, until: SystemTime) -> Duration {
        until.duration_since(self.0).unwrap_or(Duration::ZERO).min(LONGEST_REST)
    }
}

/// The `Retry-After` header, in seconds or as a date. Any other value is ignored.
pub(super) fn retry_after(headers: &HeaderMap, time: ResponseTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for `u64` is valid too, and means the longest rest.
        return Some(text.parse().map_or(LONGEST_REST, Duration::from_secs).min(LONGEST_REST));
    }
    date(headers, RETRY_AFTER).map(|until| time.until(until))
}

/// The server's time according to the `Date` header. A cache keeps the header of the original response, and says in `Age`
/// how many seconds ago that was.
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let date = date(headers, DATE)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u32>().ok()).unwrap_or(0);
    Some(Timestamp::EPOCH.plus(date).plus(Duration::from_secs(age.into())))
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use common::domain::Interval;
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn wait(headers: &[(HeaderName, &str)]) -> Option<Duration> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let interval: Interval = "10s".parse().unwrap();
        let slot = interval.slot_at("2026-11-21T00:00:10Z".parse().unwrap());
        retry_after(&headers, ResponseTime::new(&headers, slot))
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(wait(&[(RETRY_AFTER, "120")]), seconds(120));
        assert_eq!(wait(&[(RETRY_AFTER, "0")]), seconds(0));
        assert_eq!(wait(&[(RETRY_AFTER, "999999")]), Some(LONGEST_REST));
        assert_eq!(wait(&[(RETRY_AFTER, "99999999999999999999999")]), Some(LONGEST_REST));
        let date = (RETRY_AFTER, "Sat, 21 Nov 2026 00:01:00 GMT");
        assert_eq!(wait(std::slice::from_ref(&date)), seconds(50));
        // The wait is relative to the server's clock, which may be years away from ours.
        assert_eq!(wait(&[date.clone(), (DATE, "Sat, 21 Nov 2026 00:00:30 GMT")]), seconds(30));
        assert_eq!(wait(&[date.clone(), (DATE, "Sat, 21 Nov 2026 01:00:00 GMT")]), seconds(0));
        assert_eq!(wait(&[date, (DATE, "yesterday")]), seconds(50));
        for nonsense in ["", "-1", "1.5", "soon", "Sat, 99 Nov 2026 00:01:00 GMT"] {
            assert_eq!(wait(&[(RETRY_AFTER, nonsense)]), None, "{nonsense}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn the_time_of_a_server_is_its_date_and_the_age_in_a_cache() {
        let time = |headers: &[(HeaderName, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            server_time(&headers.collect())
        };
        let date = (DATE, "Sat, 21 Nov 2026 00:01:00 GMT");
        let at = |text: &str| Some(text.parse().unwrap());
        assert_eq!(time(std::slice::from_ref(&date)), at("2026-11-21T00:01:00Z"));
        assert_eq!(time(&[date.clone(), (AGE, "42")]), at("2026-11-21T00:01:42Z"));
        assert_eq!(time(&[date, (AGE, "-1")]), at("2026-11-21T00:01:00Z"));
        for nonsense in ["yesterday", "", "Sat, 99 Nov 2026 00:01:00 GMT"] {
            assert_eq!(time(&[(DATE, nonsense)]), None, "{nonsense}");
        }
        assert_eq!(time(&[(AGE, "42")]), None);
    }

    #[test]
    fn unix_times_are_relative_to_the_response() {
        let interval: Interval = "10s".parse().unwrap();
        let slot = interval.slot_at("2026-11-21T00:00:10Z".parse().unwrap());
        let time = ResponseTime::new(&HeaderMap::new(), slot);
        let at = slot.start().unix_millis() / 1_000;
        assert_eq!(time.until_unix_seconds(at + 42), Duration::from_secs(42));
        assert_eq!(time.until_unix_seconds(at - 42), Duration::ZERO);
        assert_eq!(time.until_unix_seconds(-1), Duration::ZERO);
        assert_eq!(time.until_unix_seconds(i64::MAX), LONGEST_REST);
    }

    /// The end of the year 9999, the last time that a header's date can express, in Unix seconds.
    const LAST_DATE: u64 = 253_402_300_799;

    proptest! {
        #[test]
        fn a_wait_follows_the_header_up_to_the_longest_rest(seconds: u64, now in 0..=LAST_DATE, until in 0..=LAST_DATE) {
            prop_assert_eq!(wait(&[(RETRY_AFTER, &seconds.to_string())]), Some(Duration::from_secs(seconds).min(LONGEST_REST)));
            let date = |seconds| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            let expected = Duration::from_secs(until.saturating_sub(now)).min(LONGEST_REST);
            prop_assert_eq!(wait(&[(RETRY_AFTER, &date(until)), (DATE, &date(now))]), Some(expected));
        }

        #[test]
        fn arbitrary_headers_neither_panic_nor_exceed_the_longest_rest(retry: Vec<u8>, date: Vec<u8>, text in "[A-Za-z]{3}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT") {
            let interval: Interval = "10s".parse().unwrap();
            let slot = interval.slot_at("2026-11-21T00:00:10Z".parse().unwrap());
            for (retry, date) in [(&retry[..], &date[..]), (text.as_bytes(), &date), (&retry, text.as_bytes()), (text.as_bytes(), text.as_bytes())] {
                let headers: HeaderMap = [(RETRY_AFTER, retry), (DATE, date)]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)))
                    .collect();
                prop_assert!(retry_after(&headers, ResponseTime::new(&headers, slot)).is_none_or(|wait| wait <= LONGEST_REST));
            }
        }
    }
}
