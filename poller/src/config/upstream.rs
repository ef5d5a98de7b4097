//! What can be set about one source, its key among it.

use std::path::{Path, PathBuf};

use common::{
    domain::{SourceName, Span, Words as _},
    text,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::source::{Exchange, Key, KeyError, Plan, REDACTED, SourceError};

/// `[sources.<name>]`: one source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// `primary`: always asked. `fallback`: asked when the primaries cannot agree. `shadow`: asked and
    /// recorded, never used. Where nothing is said: `fallback` for CoinGecko, which trails the exchanges,
    /// and `primary` for all others.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where the source is; empty: its public address.
    pub url: String,
    /// How old its own time may be, where not `aggregate.max_quote_age` counts. Three minutes for CoinGecko,
    /// which is refreshed once a minute and trails the exchanges.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_quote_age: Option<Span>,
    /// The key to it, for those that take one; empty: none. Shown as `[redacted]`, and never logged.
    #[serde(serialize_with = "redacted", skip_serializing_if = "is_empty")]
    pub key: SecretString,
    /// A file with the key, in place of `key`; empty: none.
    #[serde(skip_serializing_if = "path_is_empty")]
    pub key_file: PathBuf,
    /// What the key was given for; `demo` where nothing is said.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

common::words! {
    /// What part a source has.
    pub enum Role ("role") {
        /// Always asked.
        Primary = "primary",
        /// Asked when the primaries cannot agree.
        Fallback = "fallback",
        /// Asked and recorded, never used.
        Shadow = "shadow",
    }
}

impl SourceConfig {
    /// The key to the source, where it is set. Most sources take none.
    pub(super) fn key(&self, name: SourceName) -> Result<Option<Key>, SourceError> {
        let takes_key = name.as_str().parse().is_ok_and(Exchange::takes_key);
        let set = [
            ("key", !is_empty(&self.key)),
            ("key_file", !path_is_empty(&self.key_file)),
            ("plan", self.plan.is_some()),
        ];
        let needless = set.into_iter().find(|(_, is_set)| *is_set && !takes_key).map(|(setting, _)| setting);
        let found = match needless {
            Some(setting) => Err(KeyError::NotTaken { setting, name: name.to_string() }),
            None => Key::find(&self.key, &self.key_file, self.plan),
        };
        found.map_err(|reason| SourceError::Key { name, reason })
    }

    /// How old its own time may be, where it has a limit of its own.
    pub(super) fn max_age(&self, name: SourceName) -> Option<Span> {
        self.max_quote_age.or(trails(name).then_some(COINGECKO_AGE))
    }
}

/// CoinGecko is refreshed once a minute, and was seen to trail the exchanges by more than that.
const COINGECKO_AGE: Span = Span::from_seconds(180);

impl Role {
    /// The part of a source where the settings name none.
    pub fn of(source: SourceName) -> Self {
        if trails(source) { Self::Fallback } else { Self::Primary }
    }
}

/// Whether a source is an aggregate that trails the exchanges.
fn trails(source: SourceName) -> bool {
    source.as_str() == Exchange::Coingecko.as_str()
}

fn redacted<S: Serializer>(_: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(REDACTED)
}

fn is_empty(secret: &SecretString) -> bool {
    secret.expose_secret().is_empty()
}

fn path_is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
