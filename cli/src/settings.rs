//! Settings: flag over environment over file over default, every one of them named.

mod known;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail};
use common::{bus::BusConfig, telemetry::LogConfig};
use ledger::{snapshot::DAY_AGO_REACH, sources::REACH as SOURCES_REACH};
use serde::{Deserialize, Serialize};

use crate::compose::Mode;

/// A settings file with everything in it, commented. A test holds it against the defaults.
pub(crate) const EXAMPLE: &str = include_str!("settings/example.toml");

/// The file that is read where no other is named, if it is there.
const DEFAULT_FILE: &str = "tickwell.toml";

/// What environment variables start with; parts of a name are joined by two underscores.
const PREFIX: &str = "TICKWELL__";

/// Every setting. Each part belongs to the crate that uses it; this only puts them side by side.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) feed: poller::FeedConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sources: BTreeMap<String, poller::SourceConfig>,
    pub(crate) aggregate: poller::AggregateConfig,
    pub(crate) replay: poller::ReplayConfig,
    pub(crate) bus: BusConfig,
    pub(crate) api: api::ApiConfig,
    pub(crate) admin: api::AdminConfig,
    pub(crate) store: ledger::StoreConfig,
    pub(crate) windows: ledger::WindowsConfig,
    pub(crate) log: LogConfig,
}

/// Where settings come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `--set`.
    pub(crate) overrides: Vec<(String, String)>,
    /// The environment, all of it.
    pub(crate) environment: Vec<(String, String)>,
}

/// Reads `key=value`. Whether there is such a key is for [`load`] to say: what is refused here is repeated
/// in full, and the value may be a secret.
pub(crate) fn parse_override(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as feed.interval=5s")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads a settings file. Errors name the line and do not repeat it: it may hold a secret.
fn parse_file(name: &str, text: &str) -> Result<toml::Table> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow::anyhow!("{name} is not valid TOML: line {line}: {}", error.message())
    })
}

/// The settings in force.
pub(crate) fn load(sources: Sources, mode: Mode) -> Result<Settings> {
    let settings = merge(sources, mode)?;
    settings.check(mode)?;
    Ok(settings)
}

/// The settings for a command that only reads the log, or a demo's. Whether a poller or a pod could start
/// with them does not matter to it.
pub(crate) fn load_log(sources: Sources, demo: bool) -> Result<Settings> {
    let settings = merge(sources, if demo { Mode::Demo } else { Mode::Run })?;
    settings.bus.check()?;
    Ok(settings)
}

/// The settings of all layers.
fn merge(sources: Sources, mode: Mode) -> Result<Settings> {
    // Every value goes through the same reading of text, whichever layer it comes from.
    let mut layers = config::Config::builder().add_source(config::Config::try_from(&Settings::default())?);
    if mode == Mode::Demo {
        let demo = config::Config::builder().set_default("feed.interval", DEMO_INTERVAL)?.build()?;
        layers = layers.add_source(demo);
    }
    let mut origins = BTreeMap::new();
    let file = sources.file.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()));
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let table = parse_file(&name, &text)?;
        for key in known::keys_of(&table) {
            known::require(&name, &key)?;
            origins.insert(key, name.clone());
        }
        layers = layers.add_source(config::File::from_str(&text, config::FileFormat::Toml));
    }
    for (name, value) in sources.environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let key = name.trim_start_matches(PREFIX).to_ascii_lowercase().replace("__", ".");
        known::require(&name, &key)?;
        layers = layers.set_override(&key, value)?;
        origins.insert(key, name);
    }
    for (key, value) in sources.overrides {
        known::require("--set", &key)?;
        layers = layers.set_override(&key, value)?;
        origins.insert(key, "--set".to_owned());
    }
    let merged = layers.build()?;
    let mut settings = read(merged, &origins)?;
    if mode == Mode::Demo {
        settings.become_demo();
    }
    Ok(settings)
}

/// A demo ticks once a second, so that something can be seen to happen.
const DEMO_INTERVAL: &str = "1s";

/// Reads the merged layers. An error names the setting, and where its value came from.
fn read(merged: config::Config, origins: &BTreeMap<String, String>) -> Result<Settings> {
    let Err(error) = merged.clone().try_deserialize::<Settings>() else {
        return Ok(merged.try_deserialize()?);
    };
    // Which one it was: the key that cannot be read with all others at their defaults.
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
    /// The poller's part.
    pub(crate) fn poller(&self) -> poller::PollerConfig {
        poller::PollerConfig {
            feed: self.feed.clone(),
            sources: self.sources.clone(),
            aggregate: self.aggregate.clone(),
            replay: self.replay.clone(),
        }
    }

    /// Everything that can be found wrong without starting.
    fn check(&self, mode: Mode) -> Result<()> {
        self.log.filter()?;
        self.bus.check()?;
        if mode != Mode::Poller && self.api.listen.get().is_none() {
            bail!("api.listen: name an address and port, such as 127.0.0.1:8080");
        }
        if mode != Mode::Poller {
            self.check_listeners()?;
        }
        self.check_memory()?;
        if matches!(mode, Mode::Poller | Mode::Api) && self.bus.url.is_empty() {
            bail!(
                "bus.url: {} needs NATS: set it, such as nats://127.0.0.1:4222; `tickwell run` needs none",
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
                "windows.stale_after: {stale_after} is shorter than two intervals of {interval}: \
                 every price would look stale between two ticks"
            );
        }
        Ok(())
    }

    /// Port 0 is another one each time.
    fn check_listeners(&self) -> Result<()> {
        match (self.api.listen.get(), self.admin.listen.get()) {
            (Some(api), Some(admin)) if api == admin && !api.ends_with(":0") => {
                bail!("admin.listen: {admin} is api.listen as well: give one of them another port")
            }
            _ => Ok(()),
        }
    }

    /// What is kept must be enough for what is answered: an answer that depended on what a pod had already
    /// forgotten would change with its next restart.
    fn check_memory(&self) -> Result<()> {
        let (keep, retain) = (self.windows.keep, self.store.retain_ticks);
        if self.store.path.as_os_str().is_empty() {
            bail!("store.path: name a folder");
        }
        if keep.duration() < self.feed.interval.duration() {
            bail!("windows.keep: {keep} is shorter than one interval of {}", self.feed.interval);
        }
        if retain.duration() < keep.duration().max(DAY_AGO_REACH) {
            bail!(
                "store.retain_ticks: {retain} must be at least windows.keep ({keep}), and 4d for the 24-hour change"
            );
        }
        let quotes = self.store.retain_quotes;
        if quotes.duration() < keep.duration() + SOURCES_REACH {
            bail!(
                "store.retain_quotes: {quotes} must be at least windows.keep ({keep}) and an hour: answers can be \
                 pinned so far back (at_sequence), and an hour of quotes says how the sources did"
            );
        }
        Ok(())
    }

    /// The settings as a file would have them; secrets are left out.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let mut shown = self.clone();
        shown.bus.url = common::bus::nats::redacted(&self.bus.url);
        Ok(toml::to_string(&shown)?)
    }

    /// A simulated market in a folder of its own, in this process alone.
    fn become_demo(&mut self) {
        self.feed.sources = poller::source::simulated_names();
        self.store.path.push("demo");
        self.bus.url.clear();
    }
}

#[cfg(test)]
mod tests;
