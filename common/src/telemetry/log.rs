//! Log lines: readable text with colours on a terminal, JSON otherwise.

use std::{
    fmt,
    io::{IsTerminal, stderr},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
    reload,
};

use super::{TelemetryError, TraceContext};

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

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

impl LogConfig {
    /// Checks that `level` is a level or a filter.
    pub fn check(&self) -> Result<(), TelemetryError> {
        parse(&self.level).map(drop)
    }
}

/// The filter of the log. Clones share the same filter.
#[derive(Debug, Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

/// The filter as the subscriber uses it.
pub(super) type Reloadable = reload::Layer<EnvFilter, Registry>;

impl LogFilter {
    /// A filter that starts with the setting `log.level`.
    pub(super) fn new(config: &LogConfig) -> Result<(Self, Reloadable), TelemetryError> {
        let (reloadable, handle) = reload::Layer::new(parse(&config.level)?);
        let text = Arc::new(Mutex::new(config.level.clone()));
        Ok((Self { text, handle: Some(handle) }, reloadable))
    }

    /// A filter of a process that does not log.
    pub fn of_nothing() -> Self {
        Self { text: Arc::default(), handle: None }
    }

    /// The current filter, in the notation of `log.level`.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter until the process ends.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if `text` is not a valid value of `log.level`.
    pub fn replace(&self, text: &str) -> Result<(), TelemetryError> {
        let filter = parse(text)?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // Logged before the change, because the new filter may hide this line.
        tracing::warn!(
            event = "log_filter_changed",
            before = *current,
            now = text,
            "the filter of the log was changed; it applies until the process ends"
        );
        if let Some(handle) = &self.handle {
            // This only fails if the subscriber no longer exists.
            let _ = handle.reload(filter);
        }
        text.clone_into(&mut current);
        Ok(())
    }

    /// The same filter, for another destination of log lines.
    pub(super) fn copy(&self) -> EnvFilter {
        parse(&self.text()).unwrap_or_default()
    }
}

fn parse(level: &str) -> Result<EnvFilter, TelemetryError> {
    let error = || TelemetryError::Level { level: level.to_owned() };
    for directive in level.split(',').map(str::trim) {
        match directive.split_once('=') {
            // The parser would treat a word that is not a level as the name of a module, and turn off logging for all
            // other modules.
            None => drop(directive.parse::<LevelFilter>().map_err(|_| error())?),
            // It would also accept `poller=`, and log everything of that module.
            Some((target, wanted)) if target.is_empty() || wanted.is_empty() => return Err(error()),
            Some(_) => {}
        }
    }
    EnvFilter::builder().parse(format!("{QUIET},{level}")).map_err(|_| error())
}

/// Writes log lines to standard error.
pub(super) fn layer(config: &LogConfig, filter: Reloadable) -> Box<dyn Layer<Registry> + Send + Sync> {
    let text = match config.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // Spans are for traces. Log lines have their own fields, and the ids of the trace.
    let no_spans = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let filter = filter.and(no_spans);
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr);
    if text {
        let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        layer.with_ansi(colour).with_target(false).with_filter(filter).boxed()
    } else {
        let format = tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(false);
        let lines = JsonLines(format.with_span_list(false));
        layer.fmt_fields(JsonFields::new()).event_format(lines).with_filter(filter).boxed()
    }
}

/// Formats JSON lines, with `trace_id` and `span_id` if the event happens within a trace.
struct JsonLines(Format<Json>);

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = TraceContext::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}", line.trim_end().strip_suffix('}').unwrap_or(&line))?;
        // A line must not have the same member twice, and some events give their trace themselves.
        if event.metadata().fields().field("trace_id").is_none() {
            write!(writer, r#","trace_id":"{}""#, trace.trace_id)?;
        }
        writeln!(writer, r#","span_id":"{:016x}"}}"#, trace.span_id)
    }
}
