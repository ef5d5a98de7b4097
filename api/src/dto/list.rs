//! Lists as parameters: values separated by commas, each of them once.

use std::{collections::BTreeSet, fmt, str::FromStr};

use common::domain::{Pair, PairError, Span, SpanError};

/// Values, in the order in which they were named.
#[derive(Debug, Clone)]
pub struct List<T>(pub Vec<T>);

/// Pairs that can be named at once.
const MAX_PAIRS: usize = 64;

/// Why a text is no list of lengths.
#[derive(Debug, thiserror::Error)]
pub enum SpansError {
    /// One of them is no length.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// A length is there twice.
    #[error("{0} is asked for twice")]
    Repeated(Span),
}

/// Why a text is no list of pairs.
#[derive(Debug, thiserror::Error)]
pub enum PairListError {
    /// One of them is no pair.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// A pair is there twice.
    #[error("{0} is named twice")]
    Repeated(Pair),
    /// There are too many.
    #[error("at most {MAX_PAIRS} pairs can be named at once")]
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
        // One too many is enough to know.
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
