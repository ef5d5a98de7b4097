//! The newest price of each pair, as a poller published it or a pod read it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{GaugeVec, Registry};
use rust_decimal::prelude::ToPrimitive;

use super::{Define, DefineError};
use crate::domain::{Pair, Price, Slot, Timestamp};

/// The newest prices. Clones share their values: if one process is both poller and pod, both set the same metrics.
#[derive(Debug, Clone)]
pub struct Prices {
    price: GaugeVec,
    timestamp: GaugeVec,
    expected: Arc<Mutex<BTreeSet<Pair>>>,
}

impl Prices {
    /// Defines the metrics.
    pub fn new(registry: &Registry) -> Result<Self, DefineError> {
        let define = Define(registry);
        Ok(Self {
            price: define.fractions("tickwell_price", "The newest agreed price", &["pair"])?,
            timestamp: define.fractions(
                "tickwell_price_timestamp_seconds",
                "The slot of the newest agreed price, in seconds since the Unix epoch; on a poller, 0 if it has not published a price of the pair since it started",
                &["pair"],
            )?,
            expected: Arc::default(),
        })
    }

    /// Exports the time of a pair before its first price, as 0, so that an alert also fires if there is never a price.
    pub fn expect(&self, pair: Pair) {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
        // Creates the series, and keeps its value if it exists.
        self.timestamp.with_label_values(&[&pair.to_string()]);
    }

    /// Sets a pair's newest price.
    pub fn set(&self, pair: Pair, price: Price, slot: Slot) {
        let pair = pair.to_string();
        // The value of a gauge is a float, so the price is not exact here. Nothing is computed from it.
        if let Some(price) = price.decimal().to_f64() {
            self.price.with_label_values(&[&pair]).set(price);
        }
        self.timestamp.with_label_values(&[&pair]).set(seconds(slot.start()));
    }

    /// Removes all prices, because the log that they came from is no longer served.
    pub fn clear(&self) {
        self.price.reset();
        self.timestamp.reset();
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        expected.into_iter().for_each(|pair| self.expect(pair));
    }
}

/// A time in seconds since the Unix epoch.
pub fn seconds(time: Timestamp) -> f64 {
    time.since(Timestamp::EPOCH).as_secs_f64()
}
