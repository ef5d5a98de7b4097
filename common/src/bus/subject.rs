//! The subjects of records.

use crate::domain::Pair;

/// The subjects of one log: `<prefix>.<base>.<quote>`. Clients can select with `ticks.BTC.*` or `ticks.*.USD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

/// The text is not a valid subject prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid subject prefix; use letters, digits, `-` and `_` in parts separated by single dots, at \
     most 100 characters in all"
)]
pub struct SubjectError(String);

impl Subjects {
    /// Creates subjects with a prefix such as `ticks` or `prices.prod`.
    pub fn new(prefix: &str) -> Result<Self, SubjectError> {
        let valid_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if prefix.len() <= 100 && prefix.split('.').all(valid_part) {
            Ok(Self { prefix: prefix.to_owned() })
        } else {
            Err(SubjectError(prefix.chars().take(40).collect()))
        }
    }

    /// The subject of a pair's records.
    pub fn of(&self, pair: Pair) -> String {
        format!("{}.{}.{}", self.prefix, pair.base(), pair.quote())
    }

    /// The filter that selects every record.
    pub fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_made_of_the_pair() {
        let subjects = Subjects::new("prices.prod").unwrap();
        assert_eq!(subjects.of("btc-usd".parse().unwrap()), "prices.prod.BTC.USD");
        assert_eq!(subjects.all(), "prices.prod.>");
        for prefix in ["", ".", "a.", "a b", "a.*", "a.>", "$JS"] {
            assert!(Subjects::new(prefix).is_err(), "{prefix}");
        }
    }
}
