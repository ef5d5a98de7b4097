//! What must be true of every log, whatever has happened to its writers and readers.

use std::collections::{BTreeMap, BTreeSet};

use crate::records::{Kind, Record};

/// What an audited log holds, over all its pairs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) ticks: usize,
    pub(crate) gaps: usize,
    pub(crate) leads: usize,
    /// How often a pair went from one poller process to another; its first one counts.
    pub(crate) leaders: usize,
}

/// How far a pair's chain has come.
#[derive(Debug, Default, Clone)]
struct Chain {
    epoch: u64,
    leader: Option<String>,
    covered: Option<i64>,
}

/// Holds a whole log against the first invariant: each elapsed slot of a pair is covered by exactly one
/// tick or gap, in slot order, and epochs never go back. Needs the interval to be the same throughout.
pub(crate) fn audit(records: &[Record]) -> Findings {
    let mut findings = Findings::default();
    let mut chains: BTreeMap<&str, Chain> = BTreeMap::new();
    let origins: BTreeSet<&str> = records.iter().map(|record| record.origin.as_str()).collect();
    assert!(origins.len() <= 1, "one log holds one origin, not {origins:?}");

    for record in records {
        let chain = chains.entry(&record.pair).or_default();
        match record.kind {
            Kind::Lead => {
                assert!(record.epoch > chain.epoch, "a leader's term is new: {record:?} after {chain:?}");
                assert_eq!(record.covered.map(|time| time.0), chain.covered, "{record:?}");
                chain.epoch = record.epoch;
                findings.leads += 1;
                findings.leaders += usize::from(chain.leader != record.leader);
                chain.leader = record.leader.clone();
            }
            Kind::Tick | Kind::Gap => {
                assert_eq!(record.epoch, chain.epoch, "written in its leader's term: {record:?}");
                chain.covered = Some(extend(record, chain.covered));
                match record.kind {
                    Kind::Tick => findings.ticks += 1,
                    _ => findings.gaps += 1,
                }
            }
        }
    }
    findings
}

/// Checks that a record begins where its pair's chain ends. Answers where the chain ends now.
fn extend(record: &Record, covered: Option<i64>) -> i64 {
    let ((from, last), interval) = (record.covers().unwrap(), record.interval());
    assert!(from % interval == 0 && last % interval == 0, "not slots of the grid: {record:?}");
    assert!(from <= last, "covers nothing: {record:?}");
    if record.is_tick() {
        assert!(record.used().len() >= record.policy.as_ref().unwrap().min_sources.max(1), "{record:?}");
    } else {
        assert!(record.price.is_none() && record.cause.is_some(), "{record:?}");
    }
    if let Some(covered) = covered {
        assert_eq!(from, covered + interval, "a hole or a repeat after {covered}: {record:?}");
    }
    last
}

/// Checks that every record of an earlier reading is still there, byte for byte.
pub(crate) fn nothing_lost(before: &[Record], after: &[Record]) {
    assert!(!before.is_empty());
    for (old, new) in before.iter().zip(after) {
        assert_eq!(text(old), text(new), "sequence {}", old.sequence);
    }
    assert!(after.len() >= before.len(), "{} records became {}", before.len(), after.len());
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.bytes).into_owned()
}
