//! Tests everything from log entries to HTTP responses: ingest, store, snapshots and routes run together, in one
//! process and with a manual clock.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

mod access;
mod admin;
mod at;
mod averages;
mod backfilled;
mod caching;
mod candles;
mod clocks;
mod coingecko;
mod connections;
mod contract;
mod convert;
mod document;
mod event_source;
mod gaps;
mod handover;
mod history;
mod kept;
mod members;
mod merged_gaps;
mod metrics;
mod one_pair;
mod page;
mod pinned;
mod prices;
mod random_log;
mod rejected;
mod rig;
mod shape;
mod sockets;
mod sources;
mod streams;
mod tickets;
