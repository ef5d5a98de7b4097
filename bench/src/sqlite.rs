//! Does the work of Tickwell's store with SQLite. Each batch is one transaction, which stores the same ticks, gaps,
//! roll-ups, recent records and cursor as Tickwell's store.
//!
//! Durability is the same as in Tickwell's store: a commit survives a crash of the process (WAL, `synchronous =
//! NORMAL`), but a power failure loses what the operating system has not written to disk yet. Both page caches have 8
//! MiB.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use common::{
    domain::{Body, Pair, Price, Sequence, Slot, Timestamp},
    wire,
};
use ledger::{
    store::Stored,
    summary::{Point, Summary},
    window::{Window, WindowTick},
};
use rusqlite::{Connection, OptionalExtension, params};
use rust_decimal::Decimal;

use crate::{
    contender::{Contender, KEEP, QUOTES},
    year,
};

/// The lengths of roll-ups in milliseconds: a minute, an hour, a day.
const TIERS: [i64; 3] = [60_000, 3_600_000, 86_400_000];

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS ticks (pair INTEGER, slot INTEGER, sequence INTEGER, mantissa INTEGER, scale INTEGER,
        PRIMARY KEY (pair, slot)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS gaps (pair INTEGER, last INTEGER, first INTEGER, interval INTEGER, sequence INTEGER,
        epoch INTEGER, cause TEXT, PRIMARY KEY (pair, last)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rollups (tier INTEGER, pair INTEGER, start INTEGER, summary BLOB,
        PRIMARY KEY (tier, pair, start)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS records (sequence INTEGER PRIMARY KEY, slot INTEGER, record BLOB);
    CREATE TABLE IF NOT EXISTS cursor (id INTEGER PRIMARY KEY, sequence INTEGER);";

pub struct Sqlite {
    database: Connection,
    /// The newest roll-up of each tier and pair, with its start. The next tick may still change it.
    open: BTreeMap<(i64, i64), (i64, Summary)>,
    windows: BTreeMap<i64, (Window, Slot)>,
    /// The last slot and sequence of each batch whose records have not been deleted.
    kept: VecDeque<(i64, i64)>,
}

fn number(pair: Pair) -> i64 {
    i64::from(pair.to_string() != year::PAIRS[0])
}

impl Contender for Sqlite {
    fn create(folder: &Path) -> Result<Self> {
        let database = Connection::open(folder.join("bench.sqlite"))?;
        database.execute_batch("PRAGMA cache_size = -8192;")?;
        database.execute_batch(SCHEMA)?;
        database.set_prepared_statement_cache_capacity(32);
        Ok(Self { database, open: BTreeMap::new(), windows: BTreeMap::new(), kept: VecDeque::new() })
    }

    fn commit(&mut self, records: &[Stored], cursor: Sequence) -> Result<()> {
        let transaction = self.database.transaction()?;
        {
            let mut ticks = transaction.prepare_cached("INSERT INTO ticks VALUES (?, ?, ?, ?, ?)")?;
            let mut gaps = transaction.prepare_cached("INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)")?;
            let mut wholes = transaction.prepare_cached("INSERT INTO records VALUES (?, ?, ?)")?;
            let mut rollups =
                transaction.prepare_cached("INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?)")?;
            let mut newest = None;
            let mut write = |tier: i64, pair: i64, start: i64, summary: &Summary| {
                let mut bytes = Vec::new();
                summary.encode(&mut bytes);
                rollups.execute(params![tier, pair, start, bytes])
            };
            for Stored { sequence, record } in records {
                let (pair, sequence) = (number(record.pair), i64::try_from(sequence.0)?);
                let slot = record.covers_up_to().map(|slot| slot.unix_millis());
                wholes.execute(params![sequence, slot, wire::encode(record)])?;
                newest = newest.max(slot);
                match &record.body {
                    Body::Tick(tick) => {
                        let slot = tick.slot.start().unix_millis();
                        let price = tick.price.decimal();
                        let mantissa = i64::try_from(price.mantissa())?;
                        ticks.execute(params![pair, slot, sequence, mantissa, price.scale()])?;
                        let (interval, backfilled) = (tick.interval, tick.backfilled);
                        let point = Point { slot: tick.slot, interval, price: tick.price, backfilled };
                        let one = Summary::of(point);
                        for (number, tier) in (0..).zip(TIERS) {
                            let start = slot - slot % tier;
                            let merged = match self.open.get(&(number, pair)) {
                                Some((begun, summary)) if *begun == start => summary.merge(&one),
                                Some((begun, summary)) => {
                                    write(number, pair, *begun, summary)?;
                                    one
                                }
                                None => one,
                            };
                            self.open.insert((number, pair), (start, merged));
                        }
                    }
                    Body::Gap(gap) => {
                        gaps.execute(params![
                            pair,
                            gap.slot.start().unix_millis(),
                            gap.from.start().unix_millis(),
                            i64::try_from(gap.interval.millis())?,
                            sequence,
                            i64::try_from(record.epoch.0)?,
                            gap.cause.to_string(),
                        ])?;
                    }
                    Body::Lead(_) => {}
                }
            }
            for ((tier, pair), (start, summary)) in &self.open {
                write(*tier, *pair, *start, summary)?;
            }
            if let Some(newest) = newest {
                self.kept.push_back((newest, i64::try_from(cursor.0)?));
                let cutoff = newest - i64::try_from(QUOTES.as_millis())?;
                let mut remove = transaction.prepare_cached("DELETE FROM records WHERE sequence <= ?")?;
                while let Some((_, sequence)) = self.kept.pop_front_if(|(slot, _)| *slot < cutoff) {
                    remove.execute([sequence])?;
                }
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO cursor VALUES (0, ?)")?
                .execute(params![i64::try_from(cursor.0)?])?;
        }
        Ok(transaction.commit()?)
    }

    fn open(folder: &Path, stage: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut sqlite = Self::create(folder)?;
        stage("SQLite opens");
        for pair in year::PAIRS {
            let pair: Pair = pair.parse()?;
            let newest: i64 = sqlite
                .database
                .query_row("SELECT max(slot) FROM ticks WHERE pair = ?", [number(pair)], |row| row.get(0))
                .optional()?
                .context("no ticks")?;
            let to = Timestamp::from_unix_millis(newest)?;
            let mut window = Window::default();
            sqlite.visit(pair, to.minus(KEEP), to.next(), |point, sequence| {
                let sequence = Sequence(sequence.unsigned_abs());
                window = std::mem::take(&mut window).push(WindowTick { point, sequence });
            })?;
            sqlite.windows.insert(number(pair), (window, year::interval().slot_at(to)));
        }
        stage("windows");
        Ok(sqlite)
    }

    fn scan(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize> {
        let mut count = 0;
        self.visit(pair, from, to, |point, _| {
            count += usize::from(std::hint::black_box(point).price.units() > 0)
        })?;
        Ok(count)
    }

    fn daily(&self, pair: Pair, from: Timestamp, to: Timestamp) -> Result<usize> {
        let mut candles = Vec::new();
        self.rollups(2, pair, from, to, |summary| candles.push(summary))?;
        Ok(std::hint::black_box(candles).len())
    }

    fn window(&self, pair: Pair, span: Duration) -> Result<u64> {
        let (window, to) = self.windows.get(&number(pair)).context("a window")?;
        let from = to.start().minus(span);
        if span <= KEEP {
            return Ok(std::hint::black_box(window.summarize(from, *to)).map_or(0, |summary| summary.count));
        }
        // Merge ticks up to the first full minute, minutes up to the first full hour, hours up to the first full day,
        // and then days. Towards the end of the window, merge hours, minutes and ticks again.
        let mut whole: Option<Summary> = None;
        let mut add = |piece: Summary| whole = Some(whole.map_or(piece, |whole| whole.merge(&piece)));
        let (mut at, end) = (from.next(), to.start().next());
        let up = |instant: Timestamp, millis: i64| {
            Timestamp::from_unix_millis((instant.unix_millis() + millis - 1) / millis * millis)
        };
        let down = |instant: Timestamp, millis: i64| {
            Timestamp::from_unix_millis(instant.unix_millis() / millis * millis)
        };
        let stops = [up(at, TIERS[0])?, up(at, TIERS[1])?, up(at, TIERS[2])?];
        let backs = [down(end, TIERS[2])?, down(end, TIERS[1])?, down(end, TIERS[0])?];
        self.visit(pair, at, stops[0], |point, _| add(Summary::of(point)))?;
        at = stops[0];
        for (tier, stop) in [(0, stops[1]), (1, stops[2]), (2, backs[0]), (1, backs[1]), (0, backs[2])] {
            self.rollups(tier, pair, at, stop, &mut add)?;
            at = stop.max(at);
        }
        self.visit(pair, at, end, |point, _| add(Summary::of(point)))?;
        Ok(std::hint::black_box(whole).map_or(0, |summary| summary.count))
    }
}

impl Sqlite {
    fn visit(
        &self,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        mut visit: impl FnMut(Point, i64),
    ) -> Result<()> {
        let mut select = self.database.prepare_cached(
            "SELECT slot, sequence, mantissa, scale FROM ticks WHERE pair = ? AND slot >= ? AND slot < ? ORDER BY slot",
        )?;
        let mut rows = select.query(params![number(pair), from.unix_millis(), to.unix_millis()])?;
        let interval = year::interval();
        while let Some(row) = rows.next()? {
            let slot = Timestamp::from_unix_millis(row.get(0)?)?;
            let price = Decimal::try_from_i128_with_scale(row.get::<_, i64>(2)?.into(), row.get(3)?)?;
            let slot = interval.slot(slot).context("a slot")?;
            visit(Point { slot, interval, price: Price::new(price)?, backfilled: false }, row.get(1)?);
        }
        Ok(())
    }

    fn rollups(
        &self,
        tier: i64,
        pair: Pair,
        from: Timestamp,
        to: Timestamp,
        mut visit: impl FnMut(Summary),
    ) -> Result<()> {
        let mut select = self.database.prepare_cached(
            "SELECT summary FROM rollups WHERE tier = ? AND pair = ? AND start >= ? AND start < ? ORDER BY start",
        )?;
        let mut rows = select.query(params![tier, number(pair), from.unix_millis(), to.unix_millis()])?;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            visit(Summary::decode(&mut bytes.as_slice()).context("a summary")?);
        }
        Ok(())
    }
}
