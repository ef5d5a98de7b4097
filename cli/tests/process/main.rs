//! Tests of the whole product: the real binary, a real nats-server, real sockets and real crashes.
//!
//! In reading order:
//!
//! 1. [`harness`]: starts processes and sends requests to them.
//! 2. [`records`]: reads the records of a log through the API, one by one.
//! 3. [`audit`]: checks what must be true of every log, whatever has happened to its writers and readers.
//! 4. `testkit::oracle`: a second, independent computation of prices and averages from records.
//! 5. [`agreement`]: compares two pods at the same sequence, and one pod with its own log.
//! 6. [`tools`]: finds external programs.
//! 7. [`author`]: writes a log directly, which is faster than a poller.
//! 8. [`stream_client`]: a client of the event streams, whose connection can be cut off after any byte.
//! 9. The tests: [`feed`], [`sources`], [`faults`], [`survival`], [`leadership`], [`shutdown`], [`standalone`],
//!    [`replay`], [`liar`], [`commands`], [`subscriber`], [`foreign`], [`recompute`], [`nats_stream`], [`full_disk`], [`hostile`],
//!    [`pinned`], [`paging`], [`client_streams`], [`export`], [`tables`], [`backup`], [`log_backup`], [`cluster`], [`damage`], [`grind`],
//!    [`may_2021`], [`verify`], [`watch`], [`access`], [`document`], [`healthcheck`], [`roles`], [`manifests`],
//!    [`page`], [`clocks`], [`future`], [`log_apply`], [`log_lost`], [`recipes`], [`monitoring`], [`traces`],
//!    [`coingecko`], [`reverse_proxy`], [`integrations`], [`typed_clients`], [`feed_mirror`], [`feed_cluster`],
//!    [`feed_examples`].
//!
//! The tests do not use the product's own types, so that a mistake in those types cannot hide on both sides of a
//! comparison.
//!
//! The tests do not depend on the speed of the machine. If a source responds too late, its verdict in the record is
//! `timeout`, so tests compute the expected price from the verdicts in the record. Deadlines only limit how long a
//! failure takes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic fails the test, which is intended"
)]

mod access;
mod agreement;
mod audit;
mod author;
mod backfill;
mod backup;
mod client_streams;
mod clocks;
mod cluster;
mod coingecko;
mod commands;
mod damage;
mod document;
mod event_source;
mod export;
mod faults;
mod feed;
mod feed_cluster;
mod feed_examples;
mod feed_mirror;
mod foreign;
mod full_disk;
mod future;
mod grind;
mod harness;
mod healthcheck;
mod hostile;
mod import;
mod integrations;
mod leadership;
mod liar;
mod log_apply;
mod log_backup;
mod log_lost;
mod login;
mod manifests;
mod markets;
mod may_2021;
mod monitoring;
mod nats_stream;
mod other_origin;
mod page;
mod paging;
mod pinned;
mod price;
mod proxy;
mod recipes;
mod recompute;
mod records;
mod replay;
mod reverse_proxy;
mod roles;
mod shutdown;
mod sources;
mod standalone;
mod stream_client;
mod subscriber;
mod survival;
mod tables;
mod tools;
mod traces;
mod typed_clients;
mod verify;
mod watch;

use testkit::oracle;
