//! Answering over HTTP from what the pod keeps of the log.
//!
//! In reading order:
//!
//! - [`server`]: connections, with every limit named, and what each request passes on its way.
//! - [`routes`], [`dto`], [`problem`]: the questions, the shapes of answers, and the shape of errors.
//! - [`lines`]: lists as CSV and NDJSON; [`stream_end`]: why a stream ended.
//! - [`config`], [`metrics`]: what can be set, what can be watched.
//!
//! A 200 body under `/v1` is a function of request, log identity, sequence and the fresh or stale state, and of nothing
//! else: every pod at the same sequence answers with the same bytes.

pub mod config;
pub mod dto;
mod html;
pub mod lines;
pub mod metrics;
pub mod problem;
pub mod routes;
pub mod server;
pub mod stream_end;

pub use config::{AdminConfig, ApiConfig};
pub use metrics::Metrics;
