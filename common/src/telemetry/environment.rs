//! The standard environment variables of OpenTelemetry.

/// A kind of data that OTLP transmits, as it is written in variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
}

impl Signal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    /// Whether the environment asks for this signal to be exported. Log lines are already on standard error, so they
    /// are only exported if `OTEL_LOGS_EXPORTER` says so.
    pub(super) fn is_wanted(self) -> bool {
        let is_disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = variable(&format!("OTEL_{}_EXPORTER", self.name().to_uppercase()));
        let is_otlp = exporter.map_or(self == Self::Traces, |exporter| exporter == "otlp");
        !is_disabled && is_otlp && self.variable("ENDPOINT").is_some()
    }

    /// Where the signal is sent, without a user and password.
    pub(super) fn endpoint(self) -> String {
        crate::text::redacted(&self.variable("ENDPOINT").unwrap_or_default())
    }

    /// The exporter's variable for this signal or, if that is not set, the one for all signals.
    pub(super) fn variable(self, name: &str) -> Option<String> {
        let own = variable(&format!("OTEL_EXPORTER_OTLP_{}_{name}", self.name().to_uppercase()));
        own.or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }
}

/// An environment variable. By the standard, an empty value means that the variable is not set.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
