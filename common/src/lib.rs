//! What the poller and the API share, and nothing that only one of them needs.
//!
//! In reading order:
//!
//! - [`domain`]: the words (pair, price, slot, quote, verdict, record) as types that cannot be wrong.
//! - [`wire`]: the one place where records become log bytes and come back.
//! - [`clock`]: time, injected.
//! - [`bus`]: the log, as two small traits ([`bus::LogWriter`], [`bus::LogReader`]) and their
//!   JetStream implementation. The in-process implementation lives with the store it writes to.
//! - [`readiness`], [`service`], [`telemetry`]: how a process starts, says how it is, and ends.
//! - [`object`]: JSON objects that are read from nothing else.
//! - [`text`]: settings and wire fields as text, through `FromStr` and `Display`.
//!
//! This crate never asks an exchange, never opens the store and never answers HTTP. It depends on
//! neither `poller` nor `api`; both depend on it alone.

pub mod bus;
pub mod clock;
pub mod domain;
pub mod object;
pub mod readiness;
pub mod service;
pub mod telemetry;
pub mod text;
pub mod wire;
