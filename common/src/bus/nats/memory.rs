//! What this process knows to be in the log, whatever the log says now.
//!
//! JetStream promises that an acknowledged record stays. It breaks that promise when a majority of the servers lose
//! data, for example because volumes were rolled back or damaged: then the new leader answers "no such record" with
//! full confidence, and asking it again gives the same answer. So every position that this process published, read or
//! saw as the log's end is remembered, and the leader's answers are compared with that.
//!
//! A contradiction is settled in one of two ways. Either the records turn up, because a server that has them takes the
//! lead. Or every server is up to date with the leader for a while and none of them has the records; then they are lost.
//! Being up to date alone proves nothing: a server whose stream is longer than the new leader's keeps its own records,
//! skips the leader's at the same positions, and counts as up to date (seen with nats-server 2.15.1). Writing on would
//! leave two histories in one log. So while any server still has the records, nothing is written, and the operator
//! decides which servers are filled again from the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    bus::LogIdentity,
    domain::{Pair, Sequence, Timestamp},
};

/// How long all servers must have been up to date before a loss is considered. A new leader hears every follower within a
/// second or two, so a follower that is about to take over has shown itself by then.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// What is known of one log.
#[derive(Debug, Default)]
pub(super) struct Memory {
    log: Option<LogIdentity>,
    /// The highest position that the log is known to have had.
    end: Sequence,
    pairs: BTreeMap<Pair, Known>,
    /// Up to where the log covered each pair that this one has replaced, as after a restore. Removed once the pair is
    /// continued.
    former: BTreeMap<Pair, Timestamp>,
    /// Since when the leader has contradicted what is known although all servers are up to date.
    contradicted: Option<Instant>,
    /// Set once records are known to be lost: the pairs that were continued since.
    continued: Option<BTreeSet<Pair>>,
}

/// The newest message of a pair that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    sequence: Sequence,
    covered: Option<Timestamp>,
}

/// What the log's leader says of a pair.
#[derive(Debug, Clone)]
pub(super) struct Answer<'a> {
    pub(super) log: &'a LogIdentity,
    /// The log's last position.
    pub(super) end: Sequence,
    /// The pair's newest position; zero where there is none.
    pub(super) newest: Sequence,
    /// For how long a contradiction must last before it is believed; nothing while a server is away or behind that may
    /// know better.
    pub(super) settled_after: Option<Duration>,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing contradicts it.
    Consistent,
    /// Every server is up to date with the leader, and it still contradicts what is known. The message at this position
    /// is lost if no server has it.
    Missing(Sequence, String),
    /// Records are lost: the pair had been covered up to here.
    Lost(Option<Timestamp>),
    /// It contradicts what is known, and is not settled: why.
    InDoubt(String),
}

impl Memory {
    /// Compares an answer with what is known.
    pub(super) fn judge(&mut self, pair: Pair, answer: &Answer<'_>, now: Instant) -> Judgement {
        self.of(answer.log);
        let known = self.pairs.get(&pair).copied();
        let is_behind = known.is_some_and(|known| answer.newest < known.sequence);
        let is_given_up = self.continued.as_ref().is_some_and(|continued| !continued.contains(&pair));
        if answer.end < self.end || (is_behind && !is_given_up) {
            let since = *self.contradicted.get_or_insert(now);
            let is_settled = answer.settled_after.is_some_and(|time| now.duration_since(since) >= time);
            if !is_settled {
                self.contradicted = Some(since).filter(|_| answer.settled_after.is_some());
                return Judgement::InDoubt(self.contradiction(pair, answer));
            }
            let missing = known.filter(|_| is_behind).map_or(self.end, |known| known.sequence);
            return Judgement::Missing(missing, self.contradiction(pair, answer));
        }
        self.contradicted = None;
        match (&self.continued, known) {
            // Its newest record is there, so the lost ones were of other pairs.
            (_, Some(_)) if !is_behind => Judgement::Consistent,
            (Some(continued), _) if !continued.contains(&pair) => {
                Judgement::Lost(known.and_then(|known| known.covered))
            }
            _ => Judgement::Consistent,
        }
    }

    /// What is known after the log's end is not in the log any more, nor are newer messages of any pair.
    pub(super) fn give_up(&mut self, end: Sequence) {
        self.end = end;
        self.contradicted = None;
        self.continued = Some(BTreeSet::new());
    }

    /// A server has what the leader does not have: nothing is settled.
    pub(super) fn unsettle(&mut self) {
        self.contradicted = None;
    }

    /// The log ends here or later.
    pub(super) fn saw_end(&mut self, log: &LogIdentity, end: Sequence) {
        self.of(log);
        self.end = self.end.max(end);
    }

    /// The pair has a message here, and is covered up to there.
    pub(super) fn saw(
        &mut self,
        log: &LogIdentity,
        pair: Pair,
        sequence: Sequence,
        covered: Option<Timestamp>,
    ) {
        self.saw_end(log, sequence);
        let known = self.pairs.entry(pair).or_insert(Known { sequence, covered });
        if known.sequence <= sequence {
            *known = Known { sequence, covered };
        }
    }

    /// Whether the log that this one has replaced had records of later slots.
    pub(super) fn had_later(&self, pair: Pair, covered: Option<Timestamp>) -> bool {
        self.former.get(&pair).is_some_and(|former| covered.is_some_and(|covered| covered < *former))
    }

    /// A record was appended: from here on the pair's chain is whole again.
    pub(super) fn appended(&mut self, pair: Pair, sequence: Sequence, covered: Option<Timestamp>) {
        self.former.remove(&pair);
        self.end = self.end.max(sequence);
        self.pairs.insert(pair, Known { sequence, covered });
        if let Some(continued) = &mut self.continued {
            continued.insert(pair);
        }
    }

    /// Another log is not bound by what was known of the one before.
    fn of(&mut self, log: &LogIdentity) {
        if self.log.as_ref() != Some(log) {
            let covered = |(pair, known): (&Pair, &Known)| Some((*pair, known.covered?));
            let former = self.pairs.iter().filter_map(covered).collect();
            *self = Self { log: Some(log.clone()), former, ..Self::default() };
        }
    }

    fn contradiction(&self, pair: Pair, answer: &Answer<'_>) -> String {
        let Answer { end, newest, .. } = answer;
        match self.pairs.get(&pair) {
            Some(known) if *newest < known.sequence => format!(
                "the newest message of {pair} was at {}, and the leader says {}",
                known.sequence,
                if *newest == Sequence::default() {
                    "that there is none".to_owned()
                } else {
                    newest.to_string()
                }
            ),
            _ => format!("the log ended at {}, and the leader says {end}", self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> LogIdentity {
        LogIdentity::new(name).unwrap()
    }

    fn pair(name: &str) -> Pair {
        name.parse().unwrap()
    }

    fn slot(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_unix_millis(second * 1_000).unwrap())
    }

    /// What the memory says of BTC-USD when the leader gives this answer.
    fn judged(memory: &mut Memory, (end, newest): (u64, u64), all_current: bool) -> Judgement {
        let log = log("a");
        let settled_after = all_current.then_some(SETTLED_AFTER);
        let answer = Answer { log: &log, end: Sequence(end), newest: Sequence(newest), settled_after };
        memory.judge(pair("BTC-USD"), &answer, Instant::now())
    }

    fn is_in_doubt(judgement: &Judgement) -> bool {
        matches!(judgement, Judgement::InDoubt(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_is_known_is_not_given_up_before_every_server_agrees() {
        let mut memory = Memory::default();
        memory.saw(&log("a"), pair("BTC-USD"), Sequence(10), slot(100));
        for (end, newest) in [(20, 0), (20, 9), (9, 9), (0, 0)] {
            assert!(is_in_doubt(&judged(&mut memory, (end, newest), false)));
            tokio::time::advance(Duration::from_secs(3_600)).await;
            assert!(is_in_doubt(&judged(&mut memory, (end, newest), false)), "a server is still away");
        }
        assert_eq!(judged(&mut memory, (20, 10), false), Judgement::Consistent, "a sound server took over");
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_lost_once_every_server_agrees_for_a_while() {
        let mut memory = Memory::default();
        memory.saw(&log("a"), pair("BTC-USD"), Sequence(10), slot(100));
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)));
        tokio::time::advance(SETTLED_AFTER).await;
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), false)));
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)), "the time begins again");
        tokio::time::advance(SETTLED_AFTER).await;
        let missing = judged(&mut memory, (20, 0), true);
        assert!(matches!(missing, Judgement::Missing(Sequence(10), _)), "{missing:?}");
        memory.unsettle();
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)), "a server turned out to have it");
        memory.give_up(Sequence(20));
        assert_eq!(judged(&mut memory, (20, 0), true), Judgement::Lost(slot(100)));
        assert_eq!(judged(&mut memory, (20, 0), false), Judgement::Lost(slot(100)), "until it is continued");
        memory.appended(pair("BTC-USD"), Sequence(21), slot(100));
        assert_eq!(judged(&mut memory, (21, 21), false), Judgement::Consistent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_ends_earlier_has_lost_records_of_every_pair() {
        let mut memory = Memory::default();
        // A standby follows the log's end alone.
        memory.saw_end(&log("a"), Sequence(30));
        assert!(is_in_doubt(&judged(&mut memory, (12, 12), true)));
        tokio::time::advance(SETTLED_AFTER).await;
        let missing = judged(&mut memory, (12, 12), true);
        assert!(matches!(missing, Judgement::Missing(Sequence(30), _)), "{missing:?}");
        memory.give_up(Sequence(12));
        assert_eq!(judged(&mut memory, (12, 12), true), Judgement::Lost(None));
        let log = log("a");
        let other = Answer { log: &log, end: Sequence(13), newest: Sequence(11), settled_after: None };
        memory.appended(pair("BTC-USD"), Sequence(13), slot(9));
        assert_eq!(memory.judge(pair("ETH-USD"), &other, Instant::now()), Judgement::Lost(None));
    }

    #[tokio::test(start_paused = true)]
    async fn another_log_contradicts_nothing() {
        let mut memory = Memory::default();
        memory.saw(&log("b"), pair("BTC-USD"), Sequence(10), slot(100));
        assert_eq!(judged(&mut memory, (0, 0), false), Judgement::Consistent);
        // But what it covers may be less than what the former one covered.
        assert!(memory.had_later(pair("BTC-USD"), slot(90)));
        assert!(!memory.had_later(pair("BTC-USD"), slot(100)));
        assert!(!memory.had_later(pair("BTC-USD"), None), "an empty log begins from nothing");
        memory.appended(pair("BTC-USD"), Sequence(1), slot(90));
        assert!(!memory.had_later(pair("BTC-USD"), slot(90)));
    }
}
