//! Appends the past of pairs that have no live record yet, before their first live slot.
//!
//! Slots must be in order, so the oldest come first. But if the log is so slow that there is no time for all of them, the
//! newest matter most. So before each round, the oldest slots for which there will be no time are left out. A gap covers
//! what is left out after the first backfilled slot.

use std::{collections::BTreeMap, time::Duration};

use common::domain::{Body, Gap, GapCause, Interval, Pair, Record, Slot, Timestamp};
use futures::future::join_all;
use tokio::time::Instant;

use super::{
    Chain, PublishError,
    log::{Link, Log},
};
use crate::backfill::{Backfill, Past, Wanted};

/// How long the past may take to be written. Live slots wait in the meantime.
pub(in crate::publish) const WRITE_TIME: Duration = Duration::from_secs(15);

/// How often the progress is logged.
const PROGRESS_PAUSE: Duration = Duration::from_secs(3);

/// How many slots of each pair are written before the time is checked again.
const ROUND: u32 = 96;

impl Chain {
    /// The slots to backfill of each pair: of pairs without a covered slot, and of those whose newest covered slot was
    /// backfilled by a leader that did not get to the first live slot.
    pub(in crate::publish) fn wanted(&self, backfill: &Backfill) -> BTreeMap<Pair, Wanted> {
        let has_no_live_slot = |link: &Link| link.covered.is_none() || link.is_backfilled;
        let links = self.links.iter().filter(|(_, link)| has_no_live_slot(link) && !link.is_lost);
        links.filter_map(|(pair, link)| Some((*pair, backfill.wanted(link.covered)?))).collect()
    }

    /// Appends the past of these pairs, all pairs at once and one record after the other of each pair. Leaves out
    /// the oldest slots for which there is not enough `time`. Calls `progress` with the number of slots that are left, and
    /// with the number of all.
    pub(in crate::publish) async fn append_past(
        &mut self,
        past: Past,
        interval: Interval,
        time: Duration,
        progress: &mut (dyn FnMut(u32, u32) + Send),
    ) -> Result<(), PublishError> {
        let begun = Instant::now();
        let mut left = Left::new(past, interval);
        let total = left.slots();
        let mut pace = self.first_pace();
        let (mut appended, mut logged) = (0, begun);
        while let Some(slots) = left.slots_in(time.saturating_sub(begun.elapsed()), pace) {
            if slots < left.slots() {
                left.leave_out(left.slots() - slots);
            }
            let (round, began) = (left.take(ROUND), Instant::now());
            appended += round.values().map(Vec::len).sum::<usize>();
            self.append_round(round, interval).await?;
            pace = began.elapsed() / ROUND.min(slots);
            if logged.elapsed() >= PROGRESS_PAUSE {
                logged = Instant::now();
                tracing::info!(event = "backfill_progress", left = left.slots(), total, "writing the past");
            }
            progress(left.slots(), total);
        }
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            event = "backfilled",
            records = appended,
            millis,
            slots = total,
            left_out = left.left_out,
            "the past has been written; now come the live slots"
        );
        Ok(())
    }

    /// How long a slot will take, judging by the lead records that were just appended.
    fn first_pace(&self) -> Duration {
        let at_once = u32::try_from(self.log.writer.most_at_once()).unwrap_or(u32::MAX);
        self.quickest_append / at_once.max(1)
    }

    async fn append_round(
        &mut self,
        mut round: BTreeMap<Pair, Vec<Body>>,
        interval: Interval,
    ) -> Result<(), PublishError> {
        let (log, epoch) = (&self.log, self.epoch);
        let appends =
            self.links.iter_mut().filter_map(|(pair, link)| Some((*pair, link, round.remove(pair)?)));
        let appends = appends.map(async |(pair, link, bodies)| {
            let records = connected(pair, link, bodies, interval);
            let records = records.into_iter().map(|body| Record { pair, epoch, origin: log.origin, body });
            (pair, append_run(log, link, &records.collect::<Vec<_>>()).await)
        });
        let ended: Vec<_> = join_all(appends).await;
        for (pair, result) in ended {
            match result {
                Err(PublishError::InDoubt { reason, .. }) => self.doubt(pair, reason, None),
                result => result?,
            }
        }
        Ok(())
    }
}

/// The past that is not written yet. The pairs are written side by side, so a slot is counted once for all of them.
struct Left {
    past: BTreeMap<Pair, std::vec::IntoIter<Body>>,
    interval: Interval,
    next: Option<Slot>,
    last: Option<Slot>,
    left_out: u32,
}

impl Left {
    fn new(past: Past, interval: Interval) -> Self {
        let next = past.values().filter_map(|bodies| slot_of(bodies.first()?)).min();
        let last = past.values().filter_map(|bodies| slot_of(bodies.last()?)).max();
        let past = past.into_iter().map(|(pair, bodies)| (pair, bodies.into_iter())).collect();
        Self { past, interval, next, last, left_out: 0 }
    }

    /// How many slots are left.
    fn slots(&self) -> u32 {
        let Some((next, last)) = self.next.zip(self.last).filter(|(next, last)| next <= last) else {
            return 0;
        };
        let slots = last.start().millis_since(next.start()) / self.interval.millis() + 1;
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// How many of the slots that are left can be written in this time. None if that is none.
    fn slots_in(&self, time: Duration, pace: Duration) -> Option<u32> {
        let fitting = time.as_nanos().checked_div(pace.as_nanos());
        let fitting = fitting.and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
        Some(fitting.min(self.slots())).filter(|slots| *slots > 0)
    }

    /// Drops the oldest slots.
    fn leave_out(&mut self, slots: u32) {
        self.left_out = self.left_out.saturating_add(slots);
        drop(self.take(slots));
    }

    /// Takes the oldest slots of all pairs.
    fn take(&mut self, slots: u32) -> BTreeMap<Pair, Vec<Body>> {
        let Some(next) = self.next else { return BTreeMap::new() };
        let end = next.start().plus(self.interval.duration().saturating_mul(slots));
        self.next = self.interval.slot(end);
        let taken = self.past.iter_mut().map(|(pair, bodies)| {
            let is_before = |body: &Body| slot_of(body).is_some_and(|slot| slot.start() < end);
            let count = bodies.as_slice().iter().take_while(|body| is_before(body)).count();
            (*pair, bodies.take(count).collect::<Vec<_>>())
        });
        taken.filter(|(_, bodies)| !bodies.is_empty()).collect()
    }
}

/// The records of a run of slots. If slots between the pair's newest record and the first of them are missing, a gap for
/// them comes first. A pair must not begin with a gap, nor continue with one after a hole.
fn connected(pair: Pair, link: &Link, bodies: Vec<Body>, interval: Interval) -> Vec<Body> {
    let is_gap = |body: &Body| matches!(body, Body::Gap(_));
    let is_joined = |first: &Body| {
        let next = link.covered.map(|covered| interval.after(covered));
        next.is_some() && next == slot_of(first)
    };
    let bodies: Vec<Body> = match bodies.first() {
        Some(first) if !is_joined(first) => bodies.into_iter().skip_while(is_gap).collect(),
        _ => bodies,
    };
    let first = bodies.first().and_then(slot_of);
    let gap = link.covered.zip(first).and_then(|(covered, first)| gap_between(covered, first, interval));
    if let Some(gap) = &gap {
        let (from, to) = (gap.from, gap.slot);
        tracing::info!(event = "slots_not_backfilled", %pair, %from, %to, "publishing a gap for slots that are not backfilled");
    }
    gap.map(Body::Gap).into_iter().chain(bodies).collect()
}

/// The gap for the slots between two backfilled ones. None if no slot is missing.
fn gap_between(covered: Timestamp, slot: Slot, interval: Interval) -> Option<Gap> {
    let (from, last) = (interval.after(covered), interval.before(slot));
    let cause = GapCause::NotBackfilled;
    (from < slot).then_some(Gap { from, slot: last, interval, cause, backfilled: true, evidence: None })
}

/// Appends consecutive records of a pair. If the log does not accept all of them at once, the rest are appended one by
/// one, which resolves what became of the first of them.
async fn append_run(log: &Log, link: &mut Link, records: &[Record]) -> Result<(), PublishError> {
    let stored = log.append_all(records, link).await?;
    for record in records.get(stored..).unwrap_or_default() {
        let sequence = log.append(record, link).await?;
        link.advance(sequence, record);
    }
    link.cause = GapCause::NotBackfilled;
    log.metrics.backfilled(records);
    Ok(())
}

fn slot_of(body: &Body) -> Option<Slot> {
    match body {
        Body::Tick(tick) => Some(tick.slot),
        Body::Gap(gap) => Some(gap.slot),
        Body::Lead(_) => None,
    }
}
