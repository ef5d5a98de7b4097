//! `[backfill]`: how much of the past is published before a pair's first live slot.

use std::{fmt, str::FromStr};

use common::{
    domain::{Span, SpanError},
    text,
};
use serde::{Deserialize, Serialize};

/// The longest span. Exchanges have only a day or so of one-minute candles, or return them in many pages.
const LONGEST: Span = Span::DAY;

/// `[backfill]`: prices of the past.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillConfig {
    /// How much of the past is published when the log has no record of a pair yet, from the sources' one-minute candles.
    /// `off`: nothing.
    #[serde(with = "text")]
    pub span: BackfillSpan,
}

/// A span of the past. None means that nothing is backfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillSpan(Option<Span>);

/// Why a text is not a span of the past.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackfillSpanError {
    /// The text is not a span.
    #[error("{0}, or use `off`")]
    Span(#[from] SpanError),
    /// The span is too long.
    #[error(
        "at most {LONGEST} of the past can be backfilled, because exchanges have no more one-minute candles"
    )]
    TooLong,
}

impl BackfillSpan {
    /// The span. None if nothing is backfilled.
    pub fn get(self) -> Option<Span> {
        self.0
    }
}

impl Default for BackfillSpan {
    fn default() -> Self {
        Self(Some(LONGEST))
    }
}

impl FromStr for BackfillSpan {
    type Err = BackfillSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let span: Span = text.parse()?;
        if span > LONGEST { Err(BackfillSpanError::TooLong) } else { Ok(Self(Some(span))) }
    }
}

impl fmt::Display for BackfillSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => span.fmt(formatter),
            None => formatter.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_at_most_a_day_or_off() {
        for (text, expected) in [("off", "off"), ("24h", "1d"), ("90m", "90m")] {
            assert_eq!(text.parse::<BackfillSpan>().unwrap().to_string(), expected);
        }
        assert_eq!("25h".parse::<BackfillSpan>(), Err(BackfillSpanError::TooLong));
        for other in ["", "Off", "0s", "1w", "-1h"] {
            assert!(matches!(other.parse::<BackfillSpan>(), Err(BackfillSpanError::Span(_))), "{other}");
        }
    }
}
