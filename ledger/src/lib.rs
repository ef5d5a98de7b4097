//! What a pod keeps of the log, in memory and on disk, and what can be computed from it.
//!
//! In reading order, which is also the order in which a record becomes something to answer with:
//!
//! - [`ingest`]: the one task that reads the log, and the only writer of the store.
//! - [`store`]: records and cursor on disk, in one atomic batch each; [`local_log`] is the in-process log that ends
//!   there.
//! - [`summary`], [`window`]: the algebra that every average is made of, and the tree that answers for any window.
//! - [`position`], [`events`]: where the clients of streams are in the log, and what they are sent.
//! - [`snapshot`]: the immutable view that handlers read, replaced once per batch.
//! - [`candle`], [`sample`], [`averages`]: buckets, thinned ranges and windows, from memory or from the store.
//! - [`rate`]: what one asset is worth in another; [`sources`]: how the sources' quotes were judged.
//! - [`config`], [`metrics`]: what can be set, what can be watched.
//!
//! What is computed here depends on the log up to one sequence and on nothing else: not on the clock, on the request or
//! on this pod's past. This crate knows nothing of HTTP, never asks an exchange, and never writes to a log other than its
//! own in-process one.

pub mod averages;
pub mod candle;
pub mod config;
pub mod events;
pub mod ingest;
pub mod local_log;
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
