//! The API: it follows the log, keeps windows in memory and history on disk, and answers over HTTP.
//!
//! In reading order, which is also the order in which a record becomes an answer:
//!
//! - [`ingest`]: the one task that reads the log, and the only writer of the store.
//! - [`store`]: records and cursor on disk, in one atomic batch each; [`local_log`] is the in-process
//!   log that ends there.
//! - [`summary`], [`window`]: the algebra that every average is made of, and the tree that answers for
//!   any window.
//! - [`position`], [`events`]: where the clients of streams are in the log, and what they are sent.
//! - [`snapshot`]: the immutable view that handlers read, swapped once per batch.
//! - [`candle`], [`sample`], [`averages`]: what is said about buckets, stretches and windows, from memory or
//!   from the store.
//! - [`rate`]: what one asset is worth in another; [`sources`]: what became of the sources' quotes.
//! - [`lines`]: lists as CSV and NDJSON.
//! - [`routes`], [`dto`], [`problem`]: the questions, the shapes of answers, and the shape of errors.
//! - [`server`]: connections, with every limit named.
//!
//! A 200 body under `/v1` is a function of request, log identity, sequence and the fresh or stale state,
//! and of nothing else: every pod at the same sequence answers with the same bytes. This crate never asks
//! an exchange, and never writes to a log other than its own in-process one.

pub mod averages;
pub mod candle;
pub mod config;
pub mod dto;
pub mod events;
mod html;
pub mod ingest;
pub mod lines;
pub mod local_log;
pub mod metrics;
mod number;
pub mod position;
pub mod problem;
pub mod rate;
pub mod routes;
pub mod sample;
pub mod server;
pub mod snapshot;
pub mod sources;
pub mod store;
pub mod summary;
pub mod window;

pub use config::{AdminConfig, ApiConfig, StoreConfig, WindowsConfig};
pub use metrics::Metrics;
