//! Chooses the next step. The choice depends only on the seed and not on the speed of the machine: the same seed
//! results in the same steps in the same order.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};

use crate::damage::Damage;

/// The pollers' lease. Some pauses are shorter and some are longer.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// How far a clock jumps: an hour.
const JUMP_SECONDS: i64 = 3_600;

/// The target of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A NATS server, by its number.
    Server(usize),
    /// A poller or pod, by its number. Pollers come first.
    Member(usize),
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Kills one or more targets at once; each stays down for this long.
    Kill(Vec<(Target, Duration)>),
    /// Pauses a target for this long.
    Pause(Target, Duration),
    /// Stops a member cleanly and starts it again.
    Restart(usize),
    /// Kills a pod and deletes its store.
    Delete(usize),
    /// Kills a pod and damages its store. The seed decides which part of the store is damaged.
    Corrupt(usize, Damage, u64),
    /// Sets a clock this many seconds ahead, for this long.
    Jump(usize, i64, Duration),
}

/// A step, and the time until the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) step: Step,
    pub(super) pause: Duration,
}

/// An endless sequence of random steps.
pub(super) struct Plan {
    chance: StdRng,
    servers: usize,
    pollers: usize,
    members: usize,
    without: Vec<String>,
}

impl Step {
    /// The name of this kind of step.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Pause(..) => "pause",
            Self::Restart(_) => "restart",
            Self::Delete(_) => "delete",
            Self::Corrupt(..) => "corrupt",
            Self::Jump(..) => "jump",
        }
    }
}

impl Plan {
    pub(super) fn new(seed: u64, servers: usize, pollers: usize, pods: usize, without: Vec<String>) -> Self {
        let chance = StdRng::seed_from_u64(seed);
        Self { chance, servers, pollers, members: pollers + pods, without }
    }

    fn step(&mut self) -> Step {
        match self.chance.random_range(0..100) {
            0..50 => self.kill(),
            50..64 => {
                let victim = self.target();
                Step::Pause(victim, self.pause())
            }
            64..70 => Step::Restart(self.chance.random_range(0..self.members)),
            70..73 => Step::Delete(self.pod()),
            73..85 => {
                let (pod, kind) = (self.pod(), self.chance.random_range(0..Damage::ALL.len()));
                let damage = Damage::ALL.get(kind).copied().unwrap_or(Damage::Truncated);
                Step::Corrupt(pod, damage, self.chance.random())
            }
            _ => {
                let victim = self.chance.random_range(0..self.members);
                let ahead = if self.chance.random() { JUMP_SECONDS } else { -JUMP_SECONDS };
                Step::Jump(victim, ahead, self.millis(200..6_000))
            }
        }
    }

    /// Chooses one to three targets to kill at once.
    fn kill(&mut self) -> Step {
        let count = self.chance.random_range(1..=3);
        let targets = (0..self.members).map(Target::Member).chain((0..self.servers).map(Target::Server));
        let mut victims = targets.choose_multiple(&mut self.chance, count);
        victims.sort();
        Step::Kill(victims.into_iter().map(|victim| (victim, self.millis(0..2_000))).collect())
    }

    fn target(&mut self) -> Target {
        match self.chance.random_range(0..=self.members) {
            0 => Target::Server(self.chance.random_range(0..self.servers)),
            member => Target::Member(member - 1),
        }
    }

    fn pod(&mut self) -> usize {
        self.chance.random_range(self.pollers..self.members)
    }

    /// Chooses a pause. Half of the pauses are shorter than the lease, and the others are longer.
    fn pause(&mut self) -> Duration {
        let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        if self.chance.random() { self.millis(100..lease) } else { self.millis(lease..3 * lease) }
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.chance.random_range(range))
    }
}

impl Iterator for Plan {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        loop {
            let turn = Turn { step: self.step(), pause: self.millis(100..900) };
            if !self.without.iter().any(|kind| kind == turn.step.kind()) {
                return Some(turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_plan() {
        let plan = |seed| Plan::new(seed, 3, 2, 3, Vec::new()).take(50).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn each_kind_of_step_happens_to_every_possible_target() {
        let mut seen: BTreeMap<&str, Vec<Target>> = BTreeMap::new();
        for turn in Plan::new(1, 1, 2, 3, Vec::new()).take(2_000) {
            let kind = turn.step.kind();
            let victims = match turn.step {
                Step::Kill(victims) => victims.into_iter().map(|(victim, _)| victim).collect(),
                Step::Pause(victim, _) => vec![victim],
                Step::Restart(member)
                | Step::Delete(member)
                | Step::Corrupt(member, ..)
                | Step::Jump(member, ..) => {
                    vec![Target::Member(member)]
                }
            };
            seen.entry(kind).or_default().extend(victims);
        }
        for (kind, mut victims) in seen {
            victims.sort();
            victims.dedup();
            let expected = match kind {
                "kill" | "pause" => 6,
                "delete" | "corrupt" => 3,
                _ => 5,
            };
            assert_eq!(victims.len(), expected, "{kind}: {victims:?}");
        }
        let mut without_jumps = Plan::new(1, 1, 2, 3, vec!["jump".to_owned()]).take(500);
        assert!(without_jumps.all(|turn| turn.step.kind() != "jump"));
    }
}
