//! The operations that Tickwell's store and SQLite both perform, and how long both keep data.

use std::{path::Path, time::Duration};

use anyhow::Result;
use common::domain::{Pair, Sequence, Timestamp};
use ledger::store::Stored;

pub const DAY: Duration = Duration::from_secs(86_400);

/// The period that is kept in memory.
pub const KEEP: Duration = DAY;

/// How long whole records are kept.
pub const QUOTES: Duration = Duration::from_secs(7 * 86_400);

/// A way of storing a year.
pub trait Contender: Sized {
    fn create(folder: &Path) -> Result<Self>;
    /// Stores a batch atomically, with all derived data.
    fn commit(&mut self, records: &[Stored], cursor: Sequence) -> Result<()>;
    /// Opens an existing store and loads windows of a day into memory. Calls `stage` after each stage.
    fn open(folder: &Path, stage: &mut dyn FnMut(&str)) -> Result<Self>;
    /// Reads the ticks in `[from, to)`, and returns how many there are.
    fn scan(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize>;
    /// Reads daily candles, and returns how many there are.
    fn daily(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize>;
    /// Summarises the newest ticks, and returns how many there are.
    fn window(&self, pair: Pair, span: Duration) -> Result<u64>;
}
