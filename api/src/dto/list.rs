//! Lists as parameters: values separated by commas, without duplicates.

use std::{collections::BTreeSet, fmt, str::FromStr};

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
    Repeated(Span),
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

impl FromStr for List<Span> {
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
