//! Metrics of a pod's HTTP side.

use std::time::Duration;

use common::{
    domain::Words,
    metrics::{Define, DefineError},
};
use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::{
    problem::Code,
    stream_end::{StreamEnd, Transport},
};

/// Open connections, by listener. Clones share the same counts.
#[derive(Debug, Clone)]
pub struct Connections(IntGaugeVec);

impl Connections {
    /// Defines the metric.
    pub fn new(registry: &Registry) -> Result<Self, DefineError> {
        let help = "Open connections, by listener: api (api.listen) or admin (admin.listen)";
        Ok(Self(Define(registry).gauges("tickwell_http_connections", help, &["listener"])?))
    }

    /// The open connections of clients.
    pub fn api(&self) -> IntGauge {
        self.0.with_label_values(&["api"])
    }

    /// The open connections of operators.
    pub fn admin(&self) -> IntGauge {
        self.0.with_label_values(&["admin"])
    }
}

/// Metrics of this machine's clock. Clones share the same values.
#[derive(Debug, Clone)]
pub struct ClockMetrics {
    slot_ahead: Gauge,
    jumps: IntCounterVec,
}

impl ClockMetrics {
    /// Creates the metrics and registers them. Fails if the registry already has metrics with these names.
    pub fn new(registry: &Registry) -> Result<Self, DefineError> {
        let define = Define(registry);
        let metrics = Self {
            slot_ahead: define.fraction(
                "tickwell_slot_ahead_seconds",
                "How far the newest slot of the log is ahead of this machine's clock, of the pair that is furthest ahead; 0 if no pair is further ahead than aggregate.max_clock_skew and one interval",
            )?,
            jumps: define.counters(
                "tickwell_clock_jumps_total",
                "How often this machine's wall clock jumped by 10 s or more against its monotonic clock, by direction: ahead or back",
                &["direction"],
            )?,
        };
        for direction in ["ahead", "back"] {
            metrics.jumps.with_label_values(&[direction]);
        }
        Ok(metrics)
    }

    /// Sets how far the newest slot is ahead of the clock.
    pub fn slot_ahead(&self, ahead: Duration) {
        self.slot_ahead.set(ahead.as_secs_f64());
    }

    /// Counts a jump of the clock, in milliseconds. It is above zero if the clock jumped ahead.
    pub fn jumped(&self, millis: i64) {
        self.jumps.with_label_values(&[if millis > 0 { "ahead" } else { "back" }]).inc();
    }
}

/// Metrics of requests and streams. Clones share the same counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: HistogramVec,
    problems: IntCounterVec,
    kept_answers: IntCounter,
    stream_clients: IntGaugeVec,
    stream_ends: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and registers them. Fails if the registry already has metrics with these names.
    pub fn new(registry: &Registry) -> Result<Self, DefineError> {
        let define = Define(registry);
        let metrics = Self {
            requests: define.durations(
                "http_server_request_duration_seconds",
                "Time until the response to a request of a client was ready; http_route is the template of the route, or empty if there is no such route",
                &["http_request_method", "http_route", "http_response_status_code"],
            )?,
            problems: define.counters(
                "tickwell_http_problems_total",
                "Responses that are problems, by code; rate_limited and too_many_streams are requests over a limit",
                &["code"],
            )?,
            kept_answers: define.counter(
                "tickwell_http_kept_answers_total",
                "Requests that were answered with a response that had been computed for an earlier request",
            )?,
            stream_clients: define.gauges("tickwell_stream_clients", "Open streams, by transport", &["transport"])?,
            stream_ends: define.counters(
                "tickwell_stream_ends_total",
                "Streams that this pod ended, by transport and reason",
                &["transport", "reason"],
            )?,
        };
        for code in Code::ALL {
            metrics.problems.with_label_values(&[code.as_str()]);
        }
        for transport in Transport::ALL {
            metrics.stream_clients(*transport).set(0);
            for reason in StreamEnd::ALL {
                metrics.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]);
            }
        }
        Ok(metrics)
    }

    /// The number of open streams of a transport.
    pub fn stream_clients(&self, transport: Transport) -> IntGauge {
        self.stream_clients.with_label_values(&[transport.as_str()])
    }

    /// Counts a stream that this pod ended.
    pub fn stream_ended(&self, transport: Transport, reason: StreamEnd) {
        self.stream_ends.with_label_values(&[transport.as_str(), reason.as_str()]).inc();
    }

    /// Creates the series of successful requests to a route.
    pub fn expect(&self, route: &str) {
        self.requests.with_label_values(&["GET", route, "200"]);
    }

    /// Records the response to a request: its status, and the time it took.
    pub fn answered(&self, method: &str, route: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[method, route, status]).observe(took.as_secs_f64());
    }

    /// Counts a request that was answered with a kept answer.
    pub fn kept_answer(&self) {
        self.kept_answers.inc();
    }

    /// How many requests were answered with a kept answer.
    pub fn kept_answers(&self) -> u64 {
        self.kept_answers.get()
    }

    /// Counts a response that is a problem.
    pub fn problem(&self, code: Code) {
        self.problems.with_label_values(&[code.as_str()]).inc();
    }
}
