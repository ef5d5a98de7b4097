//! The HTTP side of a pod: it serves requests from the pod's copy of the log, which the `ledger` crate keeps.
//!
//! In reading order:
//!
//! - [`server`]: connections and their limits, and the middleware that every request passes through.
//! - `layers`: endpoints with middleware around them.
//! - [`routes`]: the handlers, one file per route, and the OpenAPI document.
//! - [`dto`] and [`problem`]: the shapes of responses and errors.
//! - [`freshness`]: which prices are fresh, although clocks can be wrong.
//! - [`work`]: long work and reads from the disk, away from the threads that serve connections.
//! - [`word`]: words as members of responses, which are enums in the document.
//! - [`lines`]: lists as CSV and NDJSON. [`stream_end`]: the reasons why streams end.
//! - [`config`] and [`metrics`]: the settings and the metrics of the HTTP side.
//!
//! The body of a 200 response under `/v1` depends only on the request, the log, the sequence, and whether prices are
//! fresh or stale. So two pods at the same sequence return the same bytes, unless a price is stale by the clock of only
//! one of the two pods.

pub mod config;
pub mod dto;
pub mod freshness;
mod html;
mod layers;
pub mod lines;
pub mod metrics;
pub mod problem;
pub mod routes;
pub mod server;
pub mod stream_end;
pub mod word;
pub mod work;

pub use config::{AdminConfig, ApiConfig};
pub use metrics::Metrics;
