//! A pod's copy of the log, in memory and on disk, and what is computed from it.
//!
//! The modules in reading order, which is also the path of a record from the log to a response:
//!
//! - [`ingest`]: the task that reads the log. It is the only writer of the store.
//! - [`store`]: records and the log cursor on disk. Each batch is written atomically.
//! - [`local_log`]: the in-process log, whose records are kept in the store only.
//! - [`summary`], [`window`]: mergeable sums and extremes of ticks, and the tree that computes any window from them.
//! - [`position`], [`events`]: the position of a stream's client in the log, and the events that the client receives.
//! - [`snapshot`]: the immutable view that request handlers read. Each batch replaces it.
//! - [`candle`], [`sample`], [`averages`]: buckets, downsampled ranges and window averages, from memory or the store.
//! - [`merged_gaps`]: consecutive gaps as one.
//! - [`rate`]: conversion between assets. [`sources`]: how often each source's quotes were used or rejected.
//! - [`config`], [`metrics`]: the settings and metrics of this crate.
//!
//! Every result depends only on its parameters and on the log up to one sequence, never on the clock or on what this
//! pod did before. This crate knows nothing of HTTP and sends no requests to exchanges. It writes to no log except the
//! in-process one.

pub mod averages;
pub mod candle;
pub mod config;
pub mod derived;
pub mod events;
pub mod ingest;
pub mod local_log;
pub mod merged_gaps;
pub mod metrics;
mod number;
pub mod position;
pub mod rate;
pub mod sample;
pub mod snapshot;
pub mod sources;
pub mod store;
pub mod summary;
pub mod window;

pub use config::{StoreConfig, WindowsConfig};
pub use metrics::Metrics;
