//! What the poller and the API share.
//!
//! In reading order:
//!
//! - [`domain`]: the domain types (pair, price, slot, quote, verdict, record). Their values are always valid.
//! - [`coins`]: the better-known coins under CoinGecko's names.
//! - [`wire`]: encodes and decodes records.
//! - [`clock`]: injectable time.
//! - [`bus`]: the log, as three small traits ([`bus::LogWriter`], [`bus::LogReader`] and [`bus::lease::Lease`]) and their
//!   JetStream implementation. The in-process implementation is in the crate of the store that it writes to.
//! - [`readiness`], [`service`], [`telemetry`]: readiness checks, the lifecycle of a process, and logging.
//! - [`metrics`]: how metrics are defined, and those that every process has.
//! - [`retry`]: retries with a pause between attempts.
//! - [`object`]: deserializes structs from JSON objects only.
//! - [`text`]: serde helpers that use `FromStr` and `Display`.
//!
//! This crate never sends requests to an exchange, never opens the store and never serves HTTP. It does not depend on the
//! crates `poller`, `ledger` and `api`, which all depend on it.

pub mod bus;
pub mod clock;
pub mod coins;
pub mod domain;
pub mod metrics;
pub mod object;
pub mod readiness;
pub mod retry;
pub mod service;
pub mod telemetry;
pub mod text;
pub mod wire;
