//! The trace id of a request. An internal error has the same trace id in the response and in the server's log.

use http::HeaderMap;

/// The header of W3C Trace Context. Its value has a version, a trace id, a parent id and flags, in lower-case hex and
/// separated by hyphens. Versions after 00 may append further parts.
const TRACEPARENT: &str = "traceparent";

/// The number of digits in each part of a `traceparent`.
const DIGITS: [usize; 4] = [2, 32, 16, 2];

/// The trace id of a request. It is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

tokio::task_local! {
    static CURRENT: Option<TraceId>;
}

impl TraceId {
    /// The id from the example in the standard.
    pub(super) const EXAMPLE: Self = Self(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);

    /// The trace id in the headers of a request, if they have exactly one valid `traceparent`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (values.next(), values.next()) else { return None };
        Self::parse(only.to_str().ok()?)
    }

    /// The trace id of the current request, or a new random one if the request had none.
    pub(super) fn current() -> Self {
        let current = CURRENT.try_with(|current| *current).ok().flatten();
        current.unwrap_or_else(|| Self(rand::random::<u128>().max(1)))
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let (version, trace, parent) = (parts.first()?, parts.get(1)?, parts.get(2)?);
        let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_whole = parts.len() == DIGITS.len() || (parts.len() > DIGITS.len() && *version != "00");
        let fits = parts.iter().zip(DIGITS).all(|(part, digits)| part.len() == digits && is_hex(part));
        let is_valid = is_whole && fits && *version != "ff" && parent.contains(|digit| digit != '0');
        let number = u128::from_str_radix(trace, 16).ok().filter(|number| *number != 0)?;
        is_valid.then_some(Self(number))
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Handles a request, during which [`TraceId::current`] returns this trace id if there is one.
pub(crate) async fn in_trace<T>(trace: Option<TraceId>, handling: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, handling).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_that_follows_the_standard_is_accepted() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for text in
            [format!("00-{id}-00f067aa0ba902b7-01"), format!("01-{id}-00f067aa0ba902b7-00-what-comes-later")]
        {
            assert_eq!(TraceId::parse(&text).unwrap().to_string(), id, "{text}");
        }
        for text in [
            String::new(),
            id.to_owned(),
            format!("00-{id}"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-00f067aa0ba902b7-1"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-+{}-00f067aa0ba902b7-01", &id[1..]),
        ] {
            assert_eq!(TraceId::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_request_with_two_traceparents_has_no_trace() {
        let header =
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse::<http::HeaderValue>().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(TraceId::from_headers(&headers), None);
        headers.append(TRACEPARENT, header.clone());
        assert!(TraceId::from_headers(&headers).is_some());
        headers.append(TRACEPARENT, header);
        assert_eq!(TraceId::from_headers(&headers), None);
    }

    #[tokio::test]
    async fn a_request_without_a_trace_gets_one() {
        let given = TraceId::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(in_trace(given, async { Some(TraceId::current()) }).await, given);
        let (one, other) = in_trace(None, async { (TraceId::current(), TraceId::current()) }).await;
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 32);
    }
}
