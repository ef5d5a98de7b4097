//! Which trace a request belongs to, so that a problem and the server's own line about it can be put together.

use http::HeaderMap;

/// W3C Trace Context, version 00, which later versions extend at the end: version, trace, parent and flags, in
/// lower-case hex.
const TRACEPARENT: &str = "traceparent";

/// How many digits each part of a `traceparent` has.
const DIGITS: [usize; 4] = [2, 32, 16, 2];

/// The trace of a request: a number that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

tokio::task_local! {
    static CURRENT: Option<TraceId>;
}

impl TraceId {
    /// The one of the standard's own examples.
    pub(super) const EXAMPLE: Self = Self(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);

    /// The trace that a request says it belongs to, if it says so in a way that can be believed.
    pub(crate) fn said_in(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (said.next(), said.next()) else { return None };
        Self::parse(only.to_str().ok()?)
    }

    /// The trace of the request that is being answered; a new one, if it named none.
    pub(super) fn current() -> Self {
        let said = CURRENT.try_with(|said| *said).ok().flatten();
        said.unwrap_or_else(|| Self(rand::random::<u128>().max(1)))
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let (version, trace, parent) = (parts.first()?, parts.get(1)?, parts.get(2)?);
        let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_whole = parts.len() == DIGITS.len() || (parts.len() > DIGITS.len() && *version != "00");
        let fits = parts.iter().zip(DIGITS).all(|(part, digits)| part.len() == digits && is_hex(part));
        let is_said = is_whole && fits && *version != "ff" && parent.contains(|digit| digit != '0');
        let number = u128::from_str_radix(trace, 16).ok().filter(|number| *number != 0)?;
        is_said.then_some(Self(number))
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// Answers a request, every problem of which is part of a trace.
pub(crate) async fn within<T>(trace: Option<TraceId>, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, answering).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_the_standard_is_believed() {
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

    #[tokio::test]
    async fn a_request_without_a_trace_gets_one() {
        let said = TraceId::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(within(said, async { Some(TraceId::current()) }).await, said);
        let (one, other) = within(None, async { (TraceId::current(), TraceId::current()) }).await;
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 32);
    }
}
