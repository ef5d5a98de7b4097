//! `docs/metrics.md`: every metric, from the definitions in the code.
//!
//! Each part of a process registers its metrics as it does when it starts, and records one made-up slot, so that the
//! metrics that exist only while something is known are there too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use super::code;
use common::{
    domain::Body,
    metrics::{Prices, of_process},
    readiness::{Condition, Readiness},
    wire,
};
use prometheus::{
    Registry,
    proto::{MetricFamily, MetricType},
};

const HEAD: &str = "\
# Metrics

<!-- Generated from the definitions in the code. Edit those, then run `just documents`. -->

Every process serves its metrics in Prometheus' text format at `/metrics`: at `admin.listen` if that is set, and
otherwise at `api.listen`. A poller without `admin.listen` serves nothing, and logs a warning when it starts.

- Names, units and labels follow the conventions of Prometheus and, where they define a metric, the semantic conventions
  of OpenTelemetry. Counters end in `_total`. Times and durations are in seconds, and sizes in bytes.
- Series whose labels are known in advance exist from the start, with the value 0. Every label has a limited number of
  values. The tables list the values of labels that have fixed ones.
- If one process is both poller and pod (`tickwell run`), it has the metrics of both.
- A standby has no prices of its own. To get the newest price of a pair, take the maximum over all processes:
  `max by (pair) (tickwell_price_timestamp_seconds)`.

[The alerts](../container/monitoring/alerts.yaml) use these metrics, and [runbook.md](runbook.md) says what to do about
each alert. The section on monitoring in [operations.md](operations.md#monitor) says how to start Prometheus and Grafana.
";

/// A slot with one source that agreed and one that did not respond.
const TICK: &[u8] = br#"{"version":2,"kind":"tick","pair":"BTC-USD","slot":"2026-11-21T00:00:10.000Z","interval":"10s","epoch":1,"origin":"live","price":"100","spread":"0","policy":{"rules":1,"price":"last","min_sources":1,"max_deviation":"0.02","max_quote_age":"30s","max_clock_skew":"5s","frozen_after":"10m"},"quotes":[{"source":"kraken","price":"100","basis":"last","last":"100","observed_at":"2026-11-21T00:00:10.300Z","source_time":"2026-11-21T00:00:09.000Z","unchanged_since":"2026-11-21T00:00:10.300Z","verdict":"used"}]}"#;

/// Labels whose values are not fixed words.
pub(super) const OPEN: [&str; 8] = [
    "pair",
    "source",
    "check",
    "version",
    "commit",
    "http_request_method",
    "http_route",
    "http_response_status_code",
];

/// The metrics of one kind of process, in the order of the document.
pub(super) struct Section {
    title: &'static str,
    pub(super) families: Vec<MetricFamily>,
}

/// Everything that any process exports.
pub(super) fn sections() -> Vec<Section> {
    let section = |title, define: fn(&Registry)| {
        let registry = Registry::new();
        define(&registry);
        Section { title, families: registry.gather() }
    };
    vec![
        section("Every process", every_process),
        section("Prices", prices),
        section("Pollers", poller),
        section("Pods", pod),
        section("Processes that use NATS", |registry| drop(common::bus::Metrics::new(registry).unwrap())),
    ]
}

fn every_process(registry: &Registry) {
    let readiness = Readiness::default();
    readiness.check("log").set(Condition::Ready);
    of_process(registry, "0", "0", &readiness).unwrap();
    let connections = api::metrics::Connections::new(registry).unwrap();
    drop((connections.api(), connections.admin()));
}

fn prices(registry: &Registry) {
    let (prices, record) = (Prices::new(registry).unwrap(), wire::decode(TICK).unwrap());
    let Body::Tick(tick) = record.body else { unreachable!("the record is a tick") };
    prices.set(record.pair, tick.price, tick.slot);
}

fn poller(registry: &Registry) {
    let record = wire::decode(TICK).unwrap();
    let prices = Prices::new(&Registry::new()).unwrap();
    let metrics = poller::Metrics::new(registry, prices, &[record.pair]).unwrap();
    metrics.sources.expect_pair(record.pair, 1, 1);
    metrics.sources.expect_source("kraken".parse().unwrap());
    metrics.sources.observe(record.pair, &record.body);
}

fn pod(registry: &Registry) {
    ledger::Metrics::new(registry, Prices::new(&Registry::new()).unwrap()).unwrap();
    api::metrics::ClockMetrics::new(registry).unwrap();
    let metrics = api::Metrics::new(registry).unwrap();
    metrics.answered("GET", "/v1/prices", "200", Duration::ZERO);
}

/// The labels of a metric, with the values of those whose values are fixed.
pub(super) fn labels(family: &MetricFamily) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for metric in family.get_metric() {
        for label in metric.get_label() {
            labels.entry(label.name().to_owned()).or_default().insert(label.value().to_owned());
        }
    }
    labels
}

fn kind(family: &MetricFamily) -> &'static str {
    match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => unreachable!("we define no such metrics"),
    }
}

/// The whole page.
pub(super) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for Section { title, families } in sections() {
        write!(page, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
        for family in &families {
            let label = |(name, values): (&String, &BTreeSet<String>)| {
                let words = values.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                let is_open = OPEN.contains(&name.as_str());
                if is_open { format!("`{name}`") } else { format!("`{name}`: {words}") }
            };
            let labels = labels(family).iter().map(label).collect::<Vec<_>>().join("; ");
            let (name, kind, help) = (family.name(), kind(family), code(family.help()));
            writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        }
    }
    page
}
