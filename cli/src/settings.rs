//! The settings. Flags override environment variables, which override a file, which overrides the defaults.
//!
//! - [`known`]: the names of all settings.

pub(crate) mod known;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use common::{
    bus::{BusConfig, nats::check_login},
    domain::Span,
    telemetry::LogConfig,
};
use ledger::{snapshot::DAY_AGO_REACH, sources::REACH as SOURCES_REACH};
use serde::{Deserialize, Serialize};

use crate::mode::Mode;

/// A settings file with every setting at its default, with comments. A test compares it with the defaults.
pub(crate) const EXAMPLE: &str = include_str!("settings/example.toml");

/// The settings file that is read if no other is given and this one exists.
const DEFAULT_FILE: &str = "tickwell.toml";

/// The start of every environment variable that is a setting.
pub(crate) const PREFIX: &str = "TICKWELL__";

/// What replaces the dot of a setting's name in environment variables.
pub(crate) const SEPARATOR: &str = "__";

/// The settings of a demo that have other defaults. It has one slot per second, so that prices visibly move. Its prices are
/// simulated, so every web page may read them.
const OF_DEMO: [(&str, &str); 2] = [("feed.interval", "1s"), ("api.cors_origins", "*")];

/// All settings. Each part is defined by the crate that uses it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) feed: poller::FeedConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pairs: BTreeMap<String, poller::PairConfig>,
    pub(crate) sources: poller::SourcesConfig,
    pub(crate) aggregate: poller::AggregateConfig,
    pub(crate) backfill: poller::BackfillConfig,
    pub(crate) replay: poller::ReplayConfig,
    pub(crate) bus: BusConfig,
    pub(crate) api: api::ApiConfig,
    pub(crate) admin: api::AdminConfig,
    pub(crate) store: ledger::StoreConfig,
    pub(crate) windows: ledger::WindowsConfig,
    pub(crate) log: LogConfig,
}

/// The layers that settings are read from. All of them override the defaults.
#[derive(Debug, Default)]
pub(crate) struct SettingsLayers {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `--set`.
    pub(crate) overrides: Vec<(String, String)>,
    /// All environment variables of the process; those without our prefix are ignored.
    pub(crate) environment: Vec<(String, String)>,
}

/// Parses `key=value`. Does not check whether the setting exists, because clap prints what this function refuses, and
/// the value may be a secret. [`load`] checks whether the setting exists.
pub(crate) fn parse_override(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as feed.interval=5s")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses a settings file. An error gives the number of the line but not its text, which may contain a secret.
fn parse_file(name: &str, text: &str) -> Result<toml::Table> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow::anyhow!("{name} is not valid TOML: line {line}: {}", error.message())
    })
}

/// Merges all layers and checks whether a process of this mode can start with the settings.
pub(crate) fn load(layers: SettingsLayers, mode: Mode) -> Result<Settings> {
    let mut settings = merge(layers, mode)?;
    if mode == Mode::Demo {
        settings.refuse_bus_in_demo()?;
        settings.become_demo();
    }
    settings.check(mode)?;
    Ok(settings)
}

/// Merges all layers for a command that only reads a log or a store. With `demo`, the log and the store are those of
/// `tickwell run --demo`. Does not check whether a poller or a pod could start with the settings.
pub(crate) fn load_log(layers: SettingsLayers, demo: bool) -> Result<Settings> {
    let mut settings = merge(layers, if demo { Mode::Demo } else { Mode::Run })?;
    if demo {
        settings.become_demo();
    }
    settings.bus.check()?;
    check_login(&settings.bus)?;
    Ok(settings)
}

fn merge(layers: SettingsLayers, mode: Mode) -> Result<Settings> {
    // Values of all layers are parsed in the same way, even the defaults.
    let mut merged = config::Config::builder().add_source(config::Config::try_from(&Settings::default())?);
    if mode == Mode::Demo {
        let defaults = OF_DEMO
            .iter()
            .try_fold(config::Config::builder(), |defaults, (key, value)| defaults.set_default(*key, *value));
        merged = merged.add_source(defaults?.build()?);
    }
    let mut origins = BTreeMap::new();
    let file = layers.file.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let table = parse_file(&name, &text)?;
        for key in known::keys_of(&table) {
            known::require(&name, &key)?;
            origins.insert(key, name.clone());
        }
        merged = merged.add_source(config::File::from_str(&text, config::FileFormat::Toml));
    }
    for (name, value) in layers.environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let key = known::of_variable(name.trim_start_matches(PREFIX));
        known::require(&name, &key)?;
        merged = merged.set_override(&key, value)?;
        origins.insert(key, name);
    }
    for (key, value) in layers.overrides {
        known::require("--set", &key)?;
        merged = merged.set_override(&key, value)?;
        origins.insert(key, "--set".to_owned());
    }
    let merged = merged.build()?;
    read(merged, &origins)
}

/// Parses the merged layers. An error names the setting and the layer that its value came from.
fn read(merged: config::Config, origins: &BTreeMap<String, String>) -> Result<Settings> {
    let Err(error) = merged.clone().try_deserialize::<Settings>() else {
        return Ok(merged.try_deserialize()?);
    };
    // Find the setting that cannot be parsed even if all others have their defaults.
    for (key, origin) in origins {
        let defaults = config::Config::try_from(&Settings::default())?;
        let alone = merged.get::<config::Value>(key)?;
        let probe = config::Config::builder().add_source(defaults).set_override(key, alone)?.build()?;
        if let Err(error) = probe.try_deserialize::<Settings>() {
            bail!("{origin}: {key}: {}", known::reason(&error));
        }
    }
    Err(error.into())
}

impl Settings {
    /// The settings of the poller.
    pub(crate) fn poller(&self) -> poller::PollerConfig {
        poller::PollerConfig {
            feed: self.feed.clone(),
            pairs: self.pairs.clone(),
            sources: self.sources.clone(),
            aggregate: self.aggregate.clone(),
            backfill: self.backfill.clone(),
            replay: self.replay.clone(),
        }
    }

    /// Checks everything that can be checked without starting anything.
    fn check(&self, mode: Mode) -> Result<()> {
        self.log.check()?;
        self.bus.check()?;
        check_login(&self.bus)?;
        if mode != Mode::Poller && self.api.listen.get().is_none() {
            bail!("api.listen: missing; set it to an address and port, such as 127.0.0.1:8080");
        }
        if mode != Mode::Poller {
            self.check_listeners()?;
            self.api.check().map_err(|error| anyhow::anyhow!("api.keys: {error}"))?;
        }
        self.check_memory()?;
        if matches!(mode, Mode::Poller | Mode::Api) && self.bus.url.is_empty() {
            bail!(
                "bus.url: missing; set it to your NATS server, such as nats://127.0.0.1:4222. The {} needs NATS; to work \
                 without NATS, use `tickwell run`",
                mode.describe()
            );
        }
        if mode == Mode::Api {
            return Ok(());
        }
        self.poller().resolve()?;
        let (stale_after, interval) = (self.windows.stale_after, self.feed.interval);
        if stale_after.duration() < interval.duration() * 2 {
            bail!(
                "windows.stale_after: {stale_after} is too short; set it to at least two intervals (feed.interval is \
                 {interval}), otherwise prices are marked as stale between two ticks"
            );
        }
        Ok(())
    }

    /// The API and the admin listener need different addresses.
    fn check_listeners(&self) -> Result<()> {
        let (api, admin) = (&self.api.listen, &self.admin.listen);
        if api.conflicts_with(admin) {
            bail!(
                "admin.listen: {admin} is already used by api.listen ({api}); change the port of one of them"
            );
        }
        Ok(())
    }

    /// Checks that a pod keeps everything that responses need. Otherwise a response would depend on what a pod has
    /// already deleted, and could change when the pod restarts.
    fn check_memory(&self) -> Result<()> {
        let (keep, retain) = (self.windows.keep, self.store.retain_ticks);
        if self.store.path.as_os_str().is_empty() {
            bail!("store.path: missing; set it to a directory, such as ./data");
        }
        if keep.duration() < self.feed.interval.duration() {
            bail!(
                "windows.keep: {keep} is too short; set it to at least feed.interval, which is {}",
                self.feed.interval
            );
        }
        if retain.duration() < keep.duration().max(DAY_AGO_REACH) {
            bail!(
                "store.retain_ticks: {retain} is too short; set it to at least windows.keep, which is {keep}, and at \
                 least {}, which the 24-hour change needs",
                in_units(DAY_AGO_REACH)
            );
        }
        let quotes = self.store.retain_quotes;
        if quotes.duration() < keep.duration() + SOURCES_REACH {
            bail!(
                "store.retain_quotes: {quotes} is too short; set it to at least windows.keep ({keep}) plus {reach}: \
                 requests with at_sequence reach back as far as windows.keep, and /v1/sources covers the {reach} before \
                 that",
                reach = in_units(SOURCES_REACH)
            );
        }
        Ok(())
    }

    /// The settings as TOML, without secrets.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let mut shown = self.clone();
        shown.bus.url = common::text::redacted(&self.bus.url);
        Ok(toml::to_string(&shown)?)
    }

    /// A demo has its log in the process, because simulated prices must not get into the log of real ones.
    fn refuse_bus_in_demo(&self) -> Result<()> {
        if self.bus.url.is_empty() {
            return Ok(());
        }
        let sources = poller::source::simulated_names();
        let sources = sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        bail!(
            "bus.url: a demo keeps its log in the process and does not use NATS; start it with --set bus.url= to ignore the \
             setting, or publish simulated prices to NATS with: tickwell run --set feed.sources={sources}"
        )
    }

    /// Switches to the simulated sources, a store of its own, and the in-process log.
    fn become_demo(&mut self) {
        self.feed.sources = poller::source::simulated_names();
        self.store.path.push("demo");
        self.bus.url.clear();
    }
}

/// A duration in the notation of the settings, such as `4d`.
fn in_units(duration: Duration) -> String {
    let span = u64::try_from(duration.as_millis()).ok().and_then(Span::from_millis);
    span.map_or_else(|| format!("{duration:?}"), |span| span.to_string())
}

#[cfg(test)]
mod tests;
