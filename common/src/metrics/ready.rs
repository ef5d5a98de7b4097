//! The readiness checks as metrics.

use prometheus::{
    IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::DefineError;
use crate::readiness::{Condition, Readiness};

/// Reads the checks whenever the metrics are scraped.
pub(super) struct Ready {
    readiness: Readiness,
    ready: IntGaugeVec,
    degraded: IntGaugeVec,
}

impl Ready {
    pub(super) fn new(readiness: &Readiness) -> Result<Self, DefineError> {
        let gauges = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["check"]);
        Ok(Self {
            readiness: readiness.clone(),
            ready: gauges(
                "tickwell_ready",
                "1 if the check allows the process to receive requests, 0 if it does not; /readyz?verbose has the reasons",
            )?,
            degraded: gauges(
                "tickwell_degraded",
                "1 if the process is ready, but something that the check is about is missing; /readyz?verbose has the reasons",
            )?,
        })
    }
}

impl Collector for Ready {
    fn desc(&self) -> Vec<&Desc> {
        [self.ready.desc(), self.degraded.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (check, condition) in self.readiness.report() {
            let is_ready = !matches!(condition, Condition::Unready(_));
            self.ready.with_label_values(&[check]).set(is_ready.into());
            let is_degraded = matches!(condition, Condition::Degraded(_));
            self.degraded.with_label_values(&[check]).set(is_degraded.into());
        }
        [self.ready.collect(), self.degraded.collect()].concat()
    }
}
