//! The invariants of every log, whatever has happened to its writers and readers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};

use crate::records::{Kind, Record};

/// The contents of an audited log, over all its pairs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records with a price.
    pub ticks: usize,
    /// Records of slots without a price.
    pub gaps: usize,
    /// Leads: the start of each leader's epoch.
    pub leads: usize,
    /// How many times a pair got a leader that is not the same process as the pair's previous leader. Each pair's first
    /// leader counts too.
    pub leaders: usize,
    /// The number of slots that have a tick or are part of a gap.
    pub slots: usize,
}

/// One pair after the records that were checked so far: its leader and epoch, and the last slot with a tick or gap.
#[derive(Debug, Default, Clone)]
struct Chain {
    epoch: u64,
    leader: Option<String>,
    covered: Option<i64>,
    is_live: bool,
}

/// Checks the invariant of a whole log: each elapsed slot of a pair has exactly one tick or is part of exactly one gap,
/// records are in the order of their slots, epochs never decrease, and nothing is backfilled after a live slot. The interval must be the same in the whole log.
///
/// # Errors
///
/// Fails if a record breaks the invariant.
pub fn audit(records: &[Record]) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let mut chains: BTreeMap<&str, Chain> = BTreeMap::new();
    let origins: BTreeSet<&str> = records.iter().map(|record| record.origin.as_str()).collect();
    ensure!(origins.len() <= 1, "one log holds one origin, not {origins:?}");

    for record in records {
        let chain = chains.entry(&record.pair).or_default();
        match record.kind {
            Kind::Lead => {
                ensure!(
                    record.epoch > chain.epoch,
                    "the epoch of a lead must be new: {record:?} after {chain:?}"
                );
                let covered = record.covered.map(|time| time.0);
                ensure!(covered == chain.covered, "a lead must name the end of {chain:?}: {record:?}");
                chain.epoch = record.epoch;
                findings.leads += 1;
                findings.leaders += usize::from(chain.leader != record.leader);
                chain.leader.clone_from(&record.leader);
            }
            Kind::Tick | Kind::Gap => {
                ensure!(record.epoch == chain.epoch, "not in its leader's epoch: {record:?} after {chain:?}");
                ensure!(!(chain.is_live && record.backfilled), "backfilled after a live slot: {record:?}");
                chain.is_live |= !record.backfilled;
                let slots = extend(record, chain)?;
                match record.kind {
                    Kind::Tick => findings.ticks += 1,
                    _ => findings.gaps += 1,
                }
                findings.slots += slots;
            }
        }
    }
    Ok(findings)
}

/// Checks that a record begins where its pair's chain ends. Returns how many slots it adds to the chain.
fn extend(record: &Record, chain: &mut Chain) -> anyhow::Result<usize> {
    let interval = record.interval.with_context(|| format!("no interval: {record:?}"))?.0;
    let (from, last) = record.covers().with_context(|| format!("no slot: {record:?}"))?;
    ensure!(from % interval == 0 && last % interval == 0, "not on the slot grid: {record:?}");
    ensure!(from <= last, "covers nothing: {record:?}");
    if record.is_tick() {
        let policy = record.policy.as_ref().with_context(|| format!("no policy: {record:?}"))?;
        ensure!(record.used().len() >= policy.min_sources.max(1), "too few quotes were used: {record:?}");
        ensure!(record.price.is_some() && from == last, "not one price for one slot: {record:?}");
    } else {
        ensure!(record.price.is_none() && record.cause.is_some(), "not a gap with a cause: {record:?}");
    }
    if let Some(covered) = chain.covered {
        ensure!(from == covered + interval, "a missing or repeated slot after {covered}: {record:?}");
    }
    chain.covered = Some(last);
    Ok(usize::try_from((last - from) / interval + 1)?)
}

/// Checks that all records that were read earlier still exist, byte for byte.
///
/// # Errors
///
/// Fails with the first record that has changed or is missing.
pub fn nothing_lost(before: &[Record], after: &[Record]) -> anyhow::Result<()> {
    for (old, new) in before.iter().zip(after) {
        ensure!(old.bytes == new.bytes, "sequence {}: {} became {}", old.sequence, text(old), text(new));
    }
    ensure!(after.len() >= before.len(), "{} records became {}", before.len(), after.len());
    Ok(())
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::records::time_text;

    fn record(members: Value) -> Record {
        let mut whole = json!({"pair": "BTC-USD", "epoch": 1, "origin": "live", "interval": "1s"});
        whole.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Record::read(whole.to_string().as_bytes()).unwrap()
    }

    fn lead(epoch: u64, covered: Option<i64>) -> Record {
        let covered = covered.map(|slot| time_text(slot * 1_000));
        record(json!({"kind": "lead", "epoch": epoch, "leader": format!("{epoch}"), "covered": covered}))
    }

    fn tick(epoch: u64, slot: i64) -> Record {
        let policy =
            json!({"price": "mid", "min_sources": 1, "max_deviation": "0.02", "max_quote_age": "30s"});
        let quotes =
            json!([{"source": "kraken", "price": "1", "basis": "last", "last": "1", "verdict": "used"}]);
        let slot = time_text(slot * 1_000);
        record(
            json!({"kind": "tick", "epoch": epoch, "slot": slot, "price": "1", "policy": policy, "quotes": quotes}),
        )
    }

    fn gap(epoch: u64, from: i64, slot: i64) -> Record {
        let (from, slot) = (time_text(from * 1_000), time_text(slot * 1_000));
        record(json!({"kind": "gap", "epoch": epoch, "from": from, "slot": slot, "cause": "missed"}))
    }

    #[test]
    fn a_whole_log_is_counted() {
        let records =
            [lead(1, None), tick(1, 1), gap(1, 2, 4), tick(1, 5), lead(2, Some(5)), gap(2, 6, 6), tick(2, 7)];
        let found = audit(&records).unwrap();
        assert_eq!(found, Findings { ticks: 3, gaps: 2, leads: 2, leaders: 2, slots: 7 });
    }

    #[test]
    fn whatever_breaks_the_chain_is_found() {
        for (what, records) in [
            ("a hole", [lead(1, None), tick(1, 1), tick(1, 3)]),
            ("a repeat", [lead(1, None), tick(1, 1), tick(1, 1)]),
            ("a slot that goes back", [lead(1, None), tick(1, 2), tick(1, 1)]),
            ("a gap over a tick", [lead(1, None), tick(1, 1), gap(1, 1, 2)]),
            ("an epoch that goes back", [lead(2, None), tick(2, 1), lead(1, Some(1))]),
            ("an epoch without a lead", [lead(1, None), tick(1, 1), tick(2, 2)]),
            ("a leader who read another log", [lead(1, None), tick(1, 1), lead(2, Some(2))]),
        ] {
            assert!(audit(&records).is_err(), "{what}");
        }
        let mut mixed = [lead(1, None), tick(1, 1)];
        mixed[1].origin = "simulated".to_owned();
        assert!(audit(&mixed).is_err());
    }

    #[test]
    fn records_that_were_read_must_still_exist() {
        let (before, more) = ([tick(1, 1), tick(1, 2)], [tick(1, 1), tick(1, 2), tick(1, 3)]);
        nothing_lost(&before, &more).unwrap();
        assert!(nothing_lost(&more, &before).is_err());
        assert!(nothing_lost(&before, &[tick(1, 1), tick(1, 9)]).is_err());
    }
}
