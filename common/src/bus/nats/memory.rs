//! Remembers what is in the log, to detect that the log has lost records.
//!
//! A record *covers* the slot of its tick, or all slots of its gap. A pair is covered up to its newest such slot.
//!
//! JetStream guarantees that acknowledged records stay. It breaks this guarantee if a majority of the servers lose data,
//! for example because their volumes were rolled back or damaged. The new leader then responds that a lost record does
//! not exist, and every retry gets the same response. So this process remembers every position that it has published,
//! read or seen as the end of the log, and compares the leader's responses with those positions.
//!
//! A contradiction ends in one of two ways. Either the records reappear, because a server that has them becomes the
//! leader. Or every server has been up to date with the leader for a while and none of them has the records; then they are
//! lost. Being up to date is not enough: a server whose stream is longer than the new leader's keeps its own records,
//! skips the leader's records at the same positions, and counts as up to date (seen with nats-server 2.15.1). Writing more
//! records would then create two histories in one log. So while any server still has the records, nothing is written, and
//! the operator decides which servers get a new copy from the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    bus::LogIdentity,
    domain::{Pair, Sequence, Timestamp},
};

/// How long all servers must have been up to date before records are considered lost. A new leader hears from every
/// follower within a second or two. So after this time, it knows which followers are not up to date.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// If a contradiction is not seen again for this long, it is forgotten, and the waiting time starts again at the next
/// one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// What this process knows about one log.
#[derive(Debug, Default)]
pub(super) struct Memory {
    log: Option<LogIdentity>,
    /// The highest position that the log is known to have had.
    end: Sequence,
    pairs: BTreeMap<Pair, Known>,
    /// If the log was replaced, for example by a restore: the slot up to which the previous log covered each pair. A
    /// pair's entry is removed when a record of the pair is appended to the new log.
    previous: BTreeMap<Pair, Timestamp>,
    /// For each pair: since when the leader has contradicted this memory although all servers are up to date, and when
    /// it last did.
    contradicted: BTreeMap<Pair, (Instant, Instant)>,
    /// Set once records are known to be lost: the pairs to which a record has been appended since then.
    continued: Option<BTreeSet<Pair>>,
}

/// The newest known message of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    sequence: Sequence,
    /// The slot up to which the pair is covered once the log has this message.
    covered: Option<Timestamp>,
}

/// The response of the log's leader about a pair.
#[derive(Debug, Clone)]
pub(super) struct LeaderResponse<'a> {
    pub(super) log: &'a LogIdentity,
    /// The log's last position.
    pub(super) end: Sequence,
    /// The log's first position. Older messages were dropped because of their age.
    pub(super) first: Sequence,
    /// The pair's newest position; zero if it has none.
    pub(super) newest: Sequence,
    /// How long a contradiction must last before the missing records may be lost. `None` while a server that may have
    /// the records is down or not up to date.
    pub(super) settled_after: Option<Duration>,
}

/// The result of comparing a response with the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// There is no contradiction.
    Consistent,
    /// Every server is up to date with the leader, but the response still contradicts the memory. The message at this
    /// position is lost if no server has it. The text describes the contradiction.
    Missing(Sequence, String),
    /// The log has lost records, and no record of the pair has been appended since.
    Lost {
        /// The newest message of the pair that this process knows.
        known: Option<Sequence>,
        /// The slot up to which the pair was covered, as far as this process knows.
        covered: Option<Timestamp>,
    },
    /// The response contradicts the memory, and it is unknown which of them is right. The text describes the
    /// contradiction.
    InDoubt(String),
}

impl Memory {
    /// Compares a response with the memory.
    pub(super) fn judge(&mut self, pair: Pair, response: &LeaderResponse<'_>, now: Instant) -> Judgement {
        self.switch_to(response.log);
        let known = self.pairs.get(&pair).copied();
        let is_behind =
            known.is_some_and(|known| response.newest < known.sequence && response.first <= known.sequence);
        let is_loss_accepted = self.continued.as_ref().is_some_and(|continued| !continued.contains(&pair));
        if response.end < self.end || (is_behind && !is_loss_accepted) {
            let since = match (self.contradicted.get(&pair), response.settled_after) {
                (Some((since, last)), Some(_)) if now.duration_since(*last) < FORGOTTEN_AFTER => *since,
                _ => now,
            };
            self.contradicted.insert(pair, (since, now));
            let is_settled = response.settled_after.is_some_and(|time| now.duration_since(since) >= time);
            if !is_settled {
                return Judgement::InDoubt(self.contradiction(pair, response));
            }
            let missing = known.filter(|_| is_behind).map_or(self.end, |known| known.sequence);
            return Judgement::Missing(missing, self.contradiction(pair, response));
        }
        self.contradicted.remove(&pair);
        match (&self.continued, known) {
            // The pair's newest record exists, so the lost records belong to other pairs.
            (_, Some(_)) if !is_behind => Judgement::Consistent,
            (Some(continued), _) if !continued.contains(&pair) => Judgement::Lost {
                known: known.map(|known| known.sequence),
                covered: known.and_then(|known| known.covered),
            },
            _ => Judgement::Consistent,
        }
    }

    /// Accepts that everything after `end` is lost.
    pub(super) fn accept_loss(&mut self, end: Sequence) {
        self.end = end;
        self.contradicted.clear();
        self.continued = Some(BTreeSet::new());
    }

    /// Restarts the waiting time of a pair's contradiction, because a server has a message that the leader does not
    /// have.
    pub(super) fn restart_wait(&mut self, pair: Pair) {
        self.contradicted.remove(&pair);
    }

    /// The highest position that the log is known to have had.
    pub(super) fn end(&self) -> Sequence {
        self.end
    }

    /// Remembers that the log ends at `end` or later.
    pub(super) fn saw_end(&mut self, log: &LogIdentity, end: Sequence) {
        self.switch_to(log);
        self.end = self.end.max(end);
    }

    /// Remembers a message of a pair, and the slot up to which the pair is covered.
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

    /// Whether the previous log covered the pair beyond the slot `covered`. False if `covered` is `None`.
    pub(super) fn had_later(&self, pair: Pair, covered: Option<Timestamp>) -> bool {
        self.previous.get(&pair).is_some_and(|previous| covered.is_some_and(|covered| covered < *previous))
    }

    /// Remembers an appended record, which continues the pair's chain.
    pub(super) fn appended(&mut self, pair: Pair, sequence: Sequence, covered: Option<Timestamp>) {
        self.previous.remove(&pair);
        self.end = self.end.max(sequence);
        self.pairs.insert(pair, Known { sequence, covered });
        if let Some(continued) = &mut self.continued {
            continued.insert(pair);
        }
    }

    /// Calls [`Self::forget`] if `log` is not the log that this memory is about.
    fn switch_to(&mut self, log: &LogIdentity) {
        if self.log.as_ref() != Some(log) {
            self.forget();
            self.log = Some(log.clone());
        }
    }

    /// Forgets the log, because it was replaced. Remembers only the slot up to which it covered each pair.
    pub(super) fn forget(&mut self) {
        let covered = |(pair, known): (&Pair, &Known)| Some((*pair, known.covered?));
        let previous = self.pairs.iter().filter_map(covered).collect();
        *self = Self { previous, ..Self::default() };
    }

    fn contradiction(&self, pair: Pair, response: &LeaderResponse<'_>) -> String {
        let LeaderResponse { end, newest, .. } = response;
        match self.pairs.get(&pair) {
            Some(known) if *newest < known.sequence => format!(
                "the newest message of {pair} was at sequence {}, but the leader says {}",
                known.sequence,
                if *newest == Sequence::default() {
                    "that there is none".to_owned()
                } else {
                    format!("that it is at {newest}")
                }
            ),
            _ => format!("the log ended at sequence {}, but the leader says that it ends at {end}", self.end),
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

    /// Judges the leader's response about BTC-USD.
    fn judged(memory: &mut Memory, (end, newest): (u64, u64), all_current: bool) -> Judgement {
        let log = log("a");
        let settled_after = all_current.then_some(SETTLED_AFTER);
        let response = LeaderResponse {
            log: &log,
            end: Sequence(end),
            first: Sequence(1),
            newest: Sequence(newest),
            settled_after,
        };
        memory.judge(pair("BTC-USD"), &response, Instant::now())
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
            assert!(is_in_doubt(&judged(&mut memory, (end, newest), false)), "a server is still down");
        }
        assert_eq!(
            judged(&mut memory, (20, 10), false),
            Judgement::Consistent,
            "a server with the record became the leader"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_lost_once_every_server_agrees_for_a_while() {
        let mut memory = Memory::default();
        memory.saw(&log("a"), pair("BTC-USD"), Sequence(10), slot(100));
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)));
        tokio::time::advance(SETTLED_AFTER).await;
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), false)));
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)), "the waiting time starts again");
        tokio::time::advance(SETTLED_AFTER).await;
        let missing = judged(&mut memory, (20, 0), true);
        assert!(matches!(missing, Judgement::Missing(Sequence(10), _)), "{missing:?}");
        memory.restart_wait(pair("BTC-USD"));
        assert!(is_in_doubt(&judged(&mut memory, (20, 0), true)), "a server turned out to have the record");
        memory.accept_loss(Sequence(20));
        assert_eq!(
            judged(&mut memory, (20, 0), true),
            Judgement::Lost { known: Some(Sequence(10)), covered: slot(100) }
        );
        assert_eq!(
            judged(&mut memory, (20, 0), false),
            Judgement::Lost { known: Some(Sequence(10)), covered: slot(100) },
            "the pair stays lost until a record is appended"
        );
        memory.appended(pair("BTC-USD"), Sequence(21), slot(100));
        assert_eq!(judged(&mut memory, (21, 21), false), Judgement::Consistent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_ends_earlier_has_lost_records_of_every_pair() {
        let mut memory = Memory::default();
        // A standby only knows where the log ends.
        memory.saw_end(&log("a"), Sequence(30));
        assert!(is_in_doubt(&judged(&mut memory, (12, 12), true)));
        tokio::time::advance(SETTLED_AFTER).await;
        let missing = judged(&mut memory, (12, 12), true);
        assert!(matches!(missing, Judgement::Missing(Sequence(30), _)), "{missing:?}");
        memory.accept_loss(Sequence(12));
        assert_eq!(judged(&mut memory, (12, 12), true), Judgement::Lost { known: None, covered: None });
        let log = log("a");
        let other = LeaderResponse {
            log: &log,
            end: Sequence(13),
            first: Sequence(1),
            newest: Sequence(11),
            settled_after: None,
        };
        memory.appended(pair("BTC-USD"), Sequence(13), slot(9));
        assert_eq!(
            memory.judge(pair("ETH-USD"), &other, Instant::now()),
            Judgement::Lost { known: None, covered: None }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_was_dropped_for_its_age_is_not_lost() {
        let mut memory = Memory::default();
        memory.saw(&log("a"), pair("BTC-USD"), Sequence(10), slot(100));
        let log = log("a");
        let response = |first| LeaderResponse {
            log: &log,
            end: Sequence(20),
            first: Sequence(first),
            newest: Sequence(0),
            settled_after: Some(SETTLED_AFTER),
        };
        assert!(is_in_doubt(&memory.judge(pair("BTC-USD"), &response(10), Instant::now())));
        assert_eq!(memory.judge(pair("BTC-USD"), &response(11), Instant::now()), Judgement::Consistent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_about_another_log_is_not_a_contradiction() {
        let mut memory = Memory::default();
        memory.saw(&log("b"), pair("BTC-USD"), Sequence(10), slot(100));
        assert_eq!(judged(&mut memory, (0, 0), false), Judgement::Consistent);
        // The new log may end before the slots that the previous log covered.
        assert!(memory.had_later(pair("BTC-USD"), slot(90)));
        assert!(!memory.had_later(pair("BTC-USD"), slot(100)));
        assert!(!memory.had_later(pair("BTC-USD"), None), "an empty log starts new chains");
        memory.appended(pair("BTC-USD"), Sequence(1), slot(90));
        assert!(!memory.had_later(pair("BTC-USD"), slot(90)));
    }
}
