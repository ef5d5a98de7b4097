//! Which settings there are, so that a misspelt one is an error with its name in it.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use common::domain::nearest;

use super::Settings;

/// What a source can be told. Most take no key, and say so themselves.
const OF_A_SOURCE: [&str; 6] = ["role", "url", "max_quote_age", "key", "key_file", "plan"];

/// Refuses a key that is no setting. `origin` is where it was found.
pub(super) fn require(origin: &str, key: &str) -> Result<()> {
    let known = all();
    if known.contains(key) {
        return Ok(());
    }
    match nearest(known.iter().map(String::as_str), key) {
        Some(name) => bail!("{origin}: there is no setting `{key}`; did you mean `{name}`?"),
        None => bail!("{origin}: there is no setting `{key}`; `tickwell config example` lists them all"),
    }
}

/// Every setting's key, such as `feed.interval`.
pub(super) fn all() -> BTreeSet<String> {
    let defaults = toml::Table::try_from(Settings::default()).unwrap_or_default();
    // `replay` stands for the venues that are replayed, each of which has settings of its own.
    let of_sources = poller::source::names()
        .filter(|source| *source != poller::source::REPLAY)
        .flat_map(|source| OF_A_SOURCE.iter().map(move |name| format!("sources.{source}.{name}")));
    keys_of(&defaults).into_iter().chain(of_sources).collect()
}

/// The keys of a table's values, in depth.
pub(super) fn keys_of(table: &toml::Table) -> Vec<String> {
    let below = |(name, value): (&String, &toml::Value)| match value {
        // An empty table is a name as well, and may be misspelt.
        toml::Value::Table(table) if !table.is_empty() => {
            keys_of(table).into_iter().map(|key| format!("{name}.{key}")).collect()
        }
        _ => vec![name.clone()],
    };
    table.iter().flat_map(below).collect()
}

/// What is wrong with a value, without what `config` adds about its own layers.
pub(super) fn reason(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => reason(error),
        other => other.to_string(),
    }
}
