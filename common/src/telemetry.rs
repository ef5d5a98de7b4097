//! Logging: readable text with colours on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};

use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// A filter that reduces the log output of libraries. async-nats logs nothing, because [`crate::bus::nats`] logs the
/// events of its connection.
const QUIET: &str = "async_nats=off,sled=warn,hyper=warn,h2=warn,reqwest=warn,rustls=warn";

/// The `[log]` table: what is logged, and in which format.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text`, `json`, or `auto` (text on a terminal, JSON otherwise).
    #[serde(with = "crate::text")]
    pub format: LogFormat,
    /// The lowest level that is logged (`error`, `warn`, `info`, `debug` or `trace`), or a filter such as
    /// `info,poller=debug`.
    pub level: String,
}

crate::words! {
    /// The format of log lines.
    pub enum LogFormat ("log format") {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// One readable line per event.
        Text = "text",
        /// One JSON object per event.
        Json = "json",
    }
}

/// Why logging cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is not a valid filter.
    #[error("log.level: `{level}` is not valid; use a level like info, or a filter like info,poller=debug")]
    Level {
        /// The given value.
        level: String,
    },
    /// Logging was already started in this process.
    #[error("logging was started twice")]
    Twice,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl LogConfig {
    /// Parses `level` as a filter.
    pub fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        let error = || TelemetryError::Level { level: self.level.clone() };
        // The parser would treat a word that is not a level as the name of a module, and turn off logging for all other
        // modules.
        let lone = self.level.split(',').map(str::trim).filter(|directive| !directive.contains('='));
        for word in lone {
            word.parse::<LevelFilter>().map_err(|_| error())?;
        }
        EnvFilter::builder().parse(format!("{QUIET},{}", self.level)).map_err(|_| error())
    }
}

/// Starts logging to standard error, for the whole process.
pub fn start(config: &LogConfig) -> Result<(), TelemetryError> {
    let registry = tracing_subscriber::registry().with(config.filter()?);
    let text = match config.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let started = if text {
        let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let layer = fmt::layer().with_writer(stderr).with_ansi(colour).with_target(false);
        registry.with(layer).try_init()
    } else {
        registry.with(fmt::layer().with_writer(stderr).json().flatten_event(true)).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// Formats an error and its causes on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
