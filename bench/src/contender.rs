//! What Tickwell's store and SQLite are both asked to do, and how much they keep.

use std::{path::Path, time::Duration};

use anyhow::Result;
use common::domain::{Pair, Sequence, Timestamp};
use ledger::store::Stored;

pub const DAY: Duration = Duration::from_secs(86_400);

/// What is kept in memory.
pub const KEEP: Duration = DAY;

/// How long whole records are kept.
pub const QUOTES: Duration = Duration::from_secs(7 * 86_400);

/// A way of storing a year.
pub trait Contender: Sized {
    fn create(folder: &Path) -> Result<Self>;
    /// One batch, all or nothing, with everything that follows from it.
    fn commit(&mut self, records: &[Stored], cursor: Sequence) -> Result<()>;
    /// Opens what is there, and has windows of a day in memory. Says when each stage is done.
    fn open(folder: &Path, stage: &mut dyn FnMut(&str)) -> Result<Self>;
    /// Reads the ticks in `[from, to)`; answers how many.
    fn scan(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize>;
    /// Reads daily candles; answers how many.
    fn daily(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize>;
    /// The summary of the newest ticks; answers how many there are.
    fn window(&self, pair: Pair, span: Duration) -> Result<u64>;
}
