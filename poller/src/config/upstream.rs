//! The settings of one source.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use common::{
    domain::{SourceName, Span},
    text,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::source::{
    Contact, EgressProxy, Exchange, Key, KeyError, Plan, REDACTED, Role, SourceError, exchanges,
};

/// `[sources]`: settings of all sources and of single ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourcesConfig {
    /// The proxy through which all sources are asked.
    #[serde(with = "text")]
    pub proxy: EgressProxy,
    /// A URL or mail address of yours. It is sent to all sources in the `User-Agent` header, so that they can reach you
    /// before they block you. If empty, the header contains only the name and the version of Tickwell.
    #[serde(with = "text")]
    pub contact: Contact,
    /// Settings of single sources, by name. Sources without an entry use the defaults.
    #[serde(flatten)]
    pub by_name: BTreeMap<String, SourceConfig>,
}

/// `[sources.<name>]`: one source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// `primary`: always asked. `fallback`: asked only when the primaries do not agree on a price. `shadow`:
    /// asked and recorded, but never used. The default is `fallback` for CoinGecko, which trails the
    /// exchanges, and `primary` for all others.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The source's base URL. If empty, the public one is used.
    pub url: String,
    /// The proxy for this source, instead of `sources.proxy`.
    #[serde(with = "text")]
    pub proxy: EgressProxy,
    /// How old the source's own timestamps may be. The default is three minutes for CoinGecko, which
    /// refreshes prices once a minute and trails the exchanges, and `aggregate.max_quote_age` for all others.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub max_quote_age: Option<Span>,
    /// The API key, for sources that take one. If empty, no key is sent. The key is shown as `[redacted]` and
    /// never logged.
    #[serde(serialize_with = "redacted", skip_serializing_if = "is_empty")]
    pub key: SecretString,
    /// A file that contains the API key, instead of `key`. If empty, no file is read.
    #[serde(skip_serializing_if = "path_is_empty")]
    pub key_file: PathBuf,
    /// The plan that the API key belongs to. The default is `demo`.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

impl SourceConfig {
    /// The source's API key, if one is set.
    pub(super) fn key(&self, name: SourceName) -> Result<Option<Key>, SourceError> {
        let header = |exchange: &dyn Exchange| exchange.key_header(self.plan.unwrap_or(Plan::Demo));
        let takes_key = exchanges::named(name.as_str()).and_then(header).is_some();
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

    /// The source's role.
    pub(super) fn role(&self, name: SourceName) -> Role {
        let default = exchanges::named(name.as_str()).map_or(Role::Primary, Exchange::default_role);
        self.role.unwrap_or(default)
    }

    /// How old the source's own timestamps may be. None means `aggregate.max_quote_age`.
    pub(super) fn max_age(&self, name: SourceName) -> Option<Span> {
        let default = exchanges::named(name.as_str()).and_then(Exchange::default_max_quote_age);
        self.max_quote_age.or(default)
    }
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
