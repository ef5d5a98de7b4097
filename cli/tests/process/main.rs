//! The product as its users meet it: the real binary, a real nats-server, real sockets and real crashes.
//!
//! In reading order:
//!
//! 1. [`harness`]: what a test starts, and how it asks a running process.
//! 2. [`records`]: the records of a log, read back through the API, one by one.
//! 3. [`audit`]: what must be true of every log, whatever has happened to its writers and readers.
//! 4. `testkit::oracle`: prices and averages worked out a second time, from nothing but records.
//! 5. [`agreement`]: two pods at the same sequence, and one pod against its own log.
//! 6. [`tools`]: programs of others, and where they are.
//! 7. [`author`]: a log that the test writes itself, longer than one could wait for.
//! 8. [`stream_client`]: a client of the streams, which can be cut off at any byte.
//! 9. The tests: [`feed`], [`sources`], [`faults`], [`survival`], [`leadership`], [`shutdown`], [`standalone`],
//!    [`replay`], [`liar`], [`commands`], [`subscriber`], [`foreign`], [`recompute`], [`stream`], [`full_disk`],
//!    [`pinned`], [`paging`], [`streams`], [`export`], [`backup`], [`log_backup`], [`cluster`], [`damage`], [`grind`],
//!    [`may_2021`], [`verify`], [`watch`], [`access`], [`document`], [`healthcheck`], [`roles`], [`manifests`],
//!    [`page`], [`log_apply`], [`recipes`].
//!
//! Nothing here uses the product's own types: an answer is read as a stranger would read it, so that a
//! mistake in them cannot hide on both sides of a comparison. And nothing here depends on how fast the
//! machine is. A quote that came too late is a `timeout` in its record, so what a price must be is worked
//! out from the record's own verdicts; deadlines bound failures and never decide a success.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod access;
mod agreement;
mod audit;
mod author;
mod backup;
mod cluster;
mod commands;
mod damage;
mod document;
mod export;
mod faults;
mod feed;
mod foreign;
mod full_disk;
mod grind;
mod harness;
mod healthcheck;
mod leadership;
mod liar;
mod log_apply;
mod log_backup;
mod log_lost;
mod manifests;
mod may_2021;
mod page;
mod paging;
mod pinned;
mod recipes;
mod recompute;
mod records;
mod replay;
mod roles;
mod shutdown;
mod sources;
mod standalone;
mod stream;
mod stream_client;
mod streams;
mod subscriber;
mod survival;
mod tools;
mod verify;
mod watch;

use testkit::oracle;
