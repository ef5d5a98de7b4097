//! Log lines and traces.
//!
//! In reading order:
//!
//! - `log`: log lines on standard error, and the filter that decides which of them are written.
//! - `context`: which trace a record or a request belongs to (W3C Trace Context).
//! - `sampling`: which traces are recorded.
//! - `export`: sends the recorded spans to an OpenTelemetry collector, and log lines if that is wanted.
//! - `environment`: the environment variables that configure this.
//!
//! All other code creates spans with the macros of `tracing`. Without a collector, nothing receives these spans, and
//! creating one costs about a nanosecond.

mod context;
mod environment;
mod export;
mod log;
mod sampling;

use tracing_subscriber::{Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

pub use context::{TraceContext, TraceId};
pub use log::{LogConfig, LogFilter, LogFormat};
pub use sampling::samples_request;

/// Why logging cannot be started, or why its filter cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level or filter is not valid.
    #[error(
        "log.level: `{level}` is not valid; use a level like `info`, or a filter like `info,poller=debug`"
    )]
    Level {
        /// The given value.
        level: String,
    },
    /// Logging was already started in this process.
    #[error("logging was started twice")]
    Twice,
}

/// The running telemetry of a process.
#[derive(Debug)]
#[must_use = "shut this down at the end of the process; otherwise the last spans are lost"]
pub struct Telemetry {
    filter: LogFilter,
    export: export::Export,
}

/// Starts logging to standard error, and sends traces if the environment names an OpenTelemetry collector. `service` is
/// the name under which the collector sees this process, unless the environment sets another one.
///
/// If a collector is named but cannot be used, this is logged, and the process continues without it.
pub fn start(config: &LogConfig, service: &str) -> Result<Telemetry, TelemetryError> {
    let (filter, reloadable) = LogFilter::new(config)?;
    let (export, faults) = export::Export::from_environment(service);
    // These are in a list, because a layer that is an `Option` makes every disabled span cost a hundred times as much.
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![log::layer(config, reloadable)];
    layers.extend(export.layers(&filter));
    tracing_subscriber::registry().with(layers).try_init().map_err(|_| TelemetryError::Twice)?;
    for fault in faults {
        tracing::error!(
            event = "telemetry_not_exported",
            error = fault,
            "the OpenTelemetry settings cannot be used, so nothing is sent to the collector"
        );
    }
    export.describe();
    Ok(Telemetry { filter, export })
}

impl Telemetry {
    /// The filter of the log, which can be changed while the process runs.
    pub fn log_filter(&self) -> &LogFilter {
        &self.filter
    }

    /// Sends what has not been sent yet. Blocks for a limited time, and must not be called from asynchronous code.
    pub fn shut_down(self) {
        self.export.shut_down();
    }
}

/// Formats an error and its causes on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
