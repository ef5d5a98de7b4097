//! How metrics are defined, and the metrics that every process has.
//!
//! Names, units and labels follow the conventions of Prometheus and, where they define a metric, the semantic
//! conventions of OpenTelemetry. Every label has a limited number of values: words of a closed enum, the pairs and
//! sources in the settings, or the pairs of the log. `docs/metrics.md` is generated from the definitions.

mod prices;
mod process;
mod ready;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector,
};

pub use prices::{Prices, seconds};

use crate::readiness::Readiness;

/// The bounds of histograms of durations, in seconds. An operation on the local disk takes less than a millisecond, and
/// a slow exchange takes seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why a metric could not be defined.
pub type DefineError = prometheus::Error;

/// Defines metrics: creates and registers them. Each method fails if the registry already has a metric of that name.
#[derive(Debug, Clone, Copy)]
pub struct Define<'a>(pub &'a Registry);

impl Define<'_> {
    /// A counter.
    pub fn counter(self, name: &str, help: &str) -> Result<IntCounter, DefineError> {
        self.registered(IntCounter::new(name, help)?)
    }

    /// A counter with labels.
    pub fn counters(self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, DefineError> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge of a whole number.
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge, DefineError> {
        self.registered(IntGauge::new(name, help)?)
    }

    /// A gauge of a whole number, with labels.
    pub fn gauges(self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, DefineError> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge of a number with a fraction.
    pub fn fraction(self, name: &str, help: &str) -> Result<Gauge, DefineError> {
        self.registered(Gauge::new(name, help)?)
    }

    /// A gauge of a number with a fraction, with labels.
    pub fn fractions(self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, DefineError> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram of durations.
    pub fn duration(self, name: &str, help: &str) -> Result<Histogram, DefineError> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.registered(Histogram::with_opts(options)?)
    }

    /// A histogram of durations, with labels.
    pub fn durations(self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, DefineError> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.registered(HistogramVec::new(options, labels)?)
    }

    fn registered<C: Collector + Clone + 'static>(self, collector: C) -> Result<C, DefineError> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

/// Defines the metrics that every process has: its version, its readiness checks, and its use of CPU, memory and files.
pub fn of_process(
    registry: &Registry,
    version: &str,
    commit: &str,
    readiness: &Readiness,
) -> Result<(), DefineError> {
    let build = Define(registry).gauges(
        "tickwell_build_info",
        "Always 1; the labels are the version, and the commit that it was built from",
        &["version", "commit"],
    )?;
    build.with_label_values(&[version, commit]).set(1);
    registry.register(Box::new(ready::Ready::new(readiness)?))?;
    registry.register(Box::new(process::Process::new()?))
}

/// A count as the value of a gauge.
pub fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
