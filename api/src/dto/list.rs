//! Lists as parameters: values separated by commas, without duplicates.

use std::{cmp::Ordering, collections::BTreeSet, fmt, str::FromStr};

use common::domain::{Pair, PairError, Span, SpanError};

/// Values in the order of the request.
#[derive(Debug, Clone)]
pub struct List<T>(pub Vec<T>);

/// The maximum number of pairs in one request.
const MAX_PAIRS: usize = 64;

/// Why a text is not a valid list of durations.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// One of the values is not a duration.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// A duration is listed twice.
    #[error("{0} is listed twice")]
    Repeated(WindowLength),
}

/// Why a text is not a valid list of pairs.
#[derive(Debug, thiserror::Error)]
pub enum PairListError {
    /// One of the values is not a pair.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// A pair is listed twice.
    #[error("{0} is listed twice")]
    Repeated(Pair),
    /// There are too many pairs.
    #[error("list at most {MAX_PAIRS} pairs")]
    TooMany,
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&texts.join(","))
    }
}

/// A window's length, which is written as in the request: `24h` stays `24h`, although `1d` is the same length.
///
/// Two windows are equal if they are of the same length.
#[derive(Debug, Clone, Copy)]
pub struct WindowLength {
    /// The length.
    pub span: Span,
    unit: Option<(&'static str, u64)>,
}

impl From<Span> for WindowLength {
    fn from(span: Span) -> Self {
        Self { span, unit: None }
    }
}

impl FromStr for WindowLength {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span: Span = text.parse()?;
        Ok(Self { span, unit: Span::UNITS.into_iter().find(|(unit, _)| text.ends_with(unit)) })
    }
}

impl fmt::Display for WindowLength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Some((unit, millis)) => write!(formatter, "{}{unit}", self.span.millis() / millis),
            None => self.span.fmt(formatter),
        }
    }
}

impl PartialEq for WindowLength {
    fn eq(&self, other: &Self) -> bool {
        self.span == other.span
    }
}

impl Eq for WindowLength {}

impl PartialOrd for WindowLength {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WindowLength {
    fn cmp(&self, other: &Self) -> Ordering {
        self.span.cmp(&other.span)
    }
}

impl FromStr for List<WindowLength> {
    type Err = SpansError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        each_once(text.split(','), SpansError::Repeated).map(Self)
    }
}

impl FromStr for List<Pair> {
    type Err = PairListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Parse only one pair more than the limit, which is enough to refuse the list.
        let pairs = each_once(text.split(',').take(MAX_PAIRS + 1), PairListError::Repeated)?;
        if pairs.len() > MAX_PAIRS { Err(PairListError::TooMany) } else { Ok(Self(pairs)) }
    }
}

fn each_once<'a, T, E>(texts: impl Iterator<Item = &'a str>, repeated: impl Fn(T) -> E) -> Result<Vec<T>, E>
where
    T: FromStr<Err: Into<E>> + Ord + Copy,
{
    let mut seen = BTreeSet::new();
    let value = |text: &str| {
        let value = text.parse().map_err(Into::into)?;
        if seen.insert(value) { Ok(value) } else { Err(repeated(value)) }
    };
    texts.map(value).collect()
}
