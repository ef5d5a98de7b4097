//! Logging: readable and coloured on a terminal, JSON elsewhere.

use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};

use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Libraries whose own news is not our user's. What happens to the connection to NATS is told by
/// [`crate::bus::nats`].
const QUIET: &str = "async_nats=off,sled=warn,hyper=warn,h2=warn,reqwest=warn,rustls=warn";

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
    #[serde(with = "crate::text")]
    pub format: LogFormat,
    /// The least important level that is logged: `error`, `warn`, `info`, `debug` or `trace`; or a
    /// filter such as `info,poller=debug`.
    pub level: String,
}

crate::words! {
    /// How log lines look.
    pub enum LogFormat ("log format") {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// One readable line an event.
        Text = "text",
        /// One JSON object an event.
        Json = "json",
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error("log.level: `{level}` is not a level like info, nor a filter like info,poller=debug")]
    Level {
        /// What was given.
        level: String,
    },
    /// Something else in this process logs already.
    #[error("logging was started twice")]
    Twice,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl LogConfig {
    /// The filter that `level` stands for.
    pub fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        let error = || TelemetryError::Level { level: self.level.clone() };
        // A lone word that is no level would be taken for the name of a module, and silence all others.
        let lone = self.level.split(',').map(str::trim).filter(|directive| !directive.contains('='));
        for word in lone {
            word.parse::<LevelFilter>().map_err(|_| error())?;
        }
        EnvFilter::builder().parse(format!("{QUIET},{}", self.level)).map_err(|_| error())
    }
}

/// Starts logging to standard error for the whole process.
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

/// An error and everything that caused it, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
