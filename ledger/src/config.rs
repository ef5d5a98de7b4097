//! The settings of what a pod keeps on disk and in memory.

use std::path::PathBuf;

use common::{domain::Span, text};
use serde::{Deserialize, Serialize};

/// `[store]`: what is kept on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The directory of the store. It is created if it does not exist.
    pub path: PathBuf,
    /// How long ticks are served, counted back from the newest slot.
    #[serde(with = "text")]
    pub retain_ticks: Span,
    /// How long the quotes behind a tick are served, counted back from the newest slot.
    #[serde(with = "text")]
    pub retain_quotes: Span,
}

/// `[windows]`: what is kept in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowsConfig {
    /// How far back ticks are kept in memory, and how far back `at_sequence` reaches. Longer windows are read from the
    /// store.
    #[serde(with = "text")]
    pub keep: Span,
    /// How old a pair's newest tick may be before its price is stale.
    #[serde(with = "text")]
    pub stale_after: Span,
}

const DAY_SECONDS: u64 = 86_400;

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: PathBuf::from("./data"), retain_ticks: days(360), retain_quotes: days(7) }
    }
}

impl Default for WindowsConfig {
    fn default() -> Self {
        Self { keep: days(1), stale_after: Span::from_seconds(30) }
    }
}

fn days(count: u64) -> Span {
    // The default spans are far below the limit.
    Span::from_millis(count * DAY_SECONDS * 1_000).unwrap_or(Span::from_seconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        assert_eq!(StoreConfig::default().retain_ticks.to_string(), "360d");
        assert_eq!(WindowsConfig::default().keep.to_string(), "1d");
    }
}
