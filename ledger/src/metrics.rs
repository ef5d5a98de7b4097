//! The metrics of a pod's copy of the log.

use std::time::Duration;

use common::{
    bus::Trouble,
    domain::{Timestamp, Words},
    metrics::{Define, DefineError, Prices, count, seconds},
};
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::{snapshot::Rejection, store::DiskUse};

/// The metrics of following the log. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The newest price of each pair.
    pub prices: Prices,
    /// Records read from the log and accepted.
    pub ingested: IntCounter,
    rejected: IntCounterVec,
    /// The newest sequence that is served.
    pub sequence: IntGauge,
    slot: Gauge,
    /// Records in the log that were not read yet.
    pub lag: IntGauge,
    trouble: IntGaugeVec,
    /// 1 while the store cannot be written.
    pub store_closed: IntGauge,
    rebuilds: IntCounterVec,
    /// How often the store was rewritten.
    pub store_rewrites: IntCounter,
    commit_duration: Histogram,
    size: IntGauge,
    disk_free: IntGauge,
    disk_size: IntGauge,
}

common::words! {
    /// Why a pod rebuilt its store.
    pub enum Rebuild ("reason") {
        /// Another log has replaced the one that the store was a copy of.
        Replaced = "replaced",
        /// The store was damaged.
        Damaged = "damaged",
    }
}

impl Metrics {
    /// Registers the metrics. Fails if the registry has them already.
    pub fn new(registry: &Registry, prices: Prices) -> Result<Self, DefineError> {
        let define = Define(registry);
        let metrics = Self {
            prices,
            ingested: define
                .counter("tickwell_ingest_records_total", "Records read from the log and accepted")?,
            rejected: define.counters(
                "tickwell_ingest_rejected_total",
                "Messages of the log that were rejected, by reason",
                &["reason"],
            )?,
            sequence: define
                .gauge("tickwell_ingest_sequence", "The newest sequence that was read from the log")?,
            slot: define.fraction(
                "tickwell_ingest_slot_timestamp_seconds",
                "The newest slot that was read from the log, in seconds since the Unix epoch; pairs that are no longer written, or whose slots are ahead, do not count",
            )?,
            lag: define
                .gauge("tickwell_ingest_lag_records", "Records in the log that were not read yet")?,
            trouble: define.gauges(
                "tickwell_log_trouble",
                "1 while the log cannot be followed, by kind of trouble; the pod serves what it has",
                &["trouble"],
            )?,
            store_closed: define.gauge(
                "tickwell_store_closed",
                "1 while the store cannot be written, for example because the disk is full; prices are served from memory",
            )?,
            rebuilds: define.counters(
                "tickwell_store_rebuilds_total",
                "Stores that were moved aside and rebuilt, by reason",
                &["reason"],
            )?,
            store_rewrites: define.counter(
                "tickwell_store_rewrites_total",
                "How often the store's files were rewritten because most of their space was no longer in use",
            )?,
            commit_duration: define.duration(
                "tickwell_store_commit_duration_seconds",
                "Time to write one batch of records to the store, until it survives a crash of the process",
            )?,
            size: define.gauge("tickwell_store_size_bytes", "Size of the store's files")?,
            disk_free: define.gauge(
                "tickwell_store_disk_free_bytes",
                "Free space on the file system of the store, as far as this process may use it",
            )?,
            disk_size: define
                .gauge("tickwell_store_disk_size_bytes", "Size of the file system of the store: what is in use, and what is free")?,
        };
        for reason in Rejection::ALL {
            metrics.rejected.with_label_values(&[reason.as_str()]);
        }
        for reason in Rebuild::ALL {
            metrics.rebuilds.with_label_values(&[reason.as_str()]);
        }
        metrics.trouble(None);
        Ok(metrics)
    }

    /// Sets why the log cannot be followed; `None` if it can.
    pub fn trouble(&self, now: Option<Trouble>) {
        for trouble in Trouble::ALL {
            self.trouble.with_label_values(&[trouble.as_str()]).set((Some(*trouble) == now).into());
        }
    }

    /// Counts a rebuild of the store and clears the prices.
    pub fn rebuilt(&self, reason: Rebuild) {
        self.prices.clear();
        self.rebuilds.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts messages that were rejected.
    pub fn rejected(&self, reason: Rejection, count: u64) {
        self.rejected.with_label_values(&[reason.as_str()]).inc_by(count);
    }

    /// Sets the newest slot that was read from the log.
    pub fn slot(&self, start: Timestamp) {
        self.slot.set(seconds(start));
    }

    /// Records how long it took to write a batch.
    pub fn committed(&self, took: Duration) {
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// Sets how much space the store takes, and how much is left.
    pub fn disk(&self, used: &DiskUse) {
        if let Some(bytes) = used.store {
            self.size.set(count(bytes));
        }
        self.disk_free.set(count(used.free));
        self.disk_size.set(count(used.size));
    }
}
