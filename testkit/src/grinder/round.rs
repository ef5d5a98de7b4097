//! The random choices of a round in which servers are rolled back. They depend only on the seed.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};

/// What happens to the server that keeps its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Third {
    /// The server keeps running while the others are down. It has the longest log, so it usually becomes the leader.
    RunsOn,
    /// The server is killed too, and started together with the others.
    IsKilled,
    /// The server is killed too, and started only when the others have a leader. The records that only this server has
    /// are then lost.
    ComesLate,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    /// The two servers that get older copies back, in the order in which they are started.
    pub(super) victims: [usize; 2],
    /// The third server.
    pub(super) third: usize,
    /// Whether the two servers are stopped cleanly before their stores are copied. Otherwise, they are killed.
    pub(super) is_clean: bool,
    /// How many records are published after the stores were copied.
    pub(super) records: u64,
    pub(super) third_fate: Third,
    /// The number of a poller or pod that is also killed, if any. That process is started again after the servers.
    pub(super) member: Option<usize>,
    /// The servers in the order of their start, each with a delay.
    pub(super) starts: Vec<(usize, Duration)>,
}

impl Round {
    /// Chooses a round for three servers and this many pollers and pods.
    pub(super) fn draw(chance: &mut StdRng, members: usize) -> Self {
        let mut servers = [0, 1, 2];
        servers.shuffle(chance);
        let [third, one, other] = servers;
        let third_fate = match chance.random_range(0..4) {
            0 => Third::RunsOn,
            1 => Third::IsKilled,
            _ => Third::ComesLate,
        };
        let mut order = vec![one, other];
        match third_fate {
            Third::RunsOn => {}
            Third::IsKilled => order.insert(chance.random_range(0..=order.len()), third),
            Third::ComesLate => order.push(third),
        }
        let mut after = || Duration::from_millis(chance.random_range(0..2_000));
        let starts = order.into_iter().map(|server| (server, after())).collect();
        let member = chance.random_bool(0.4).then(|| chance.random_range(0..members));
        Self {
            victims: [one, other],
            third,
            is_clean: chance.random(),
            records: chance.random_range(4..30),
            third_fate,
            member,
            starts,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn every_server_is_rolled_back_in_some_round_and_a_late_one_starts_last() {
        let mut chance = StdRng::seed_from_u64(1);
        let rounds: Vec<Round> = (0..200).map(|_| Round::draw(&mut chance, 5)).collect();
        for server in 0..3 {
            assert!(rounds.iter().any(|round| round.victims.contains(&server)));
            assert!(rounds.iter().any(|round| round.third == server));
        }
        for member in 0..5 {
            assert!(rounds.iter().any(|round| round.member == Some(member)));
        }
        for round in &rounds {
            assert!(!round.victims.contains(&round.third));
            let last = round.starts.last().unwrap().0;
            match round.third_fate {
                Third::RunsOn => assert_eq!(round.starts.len(), 2),
                Third::IsKilled => assert_eq!(round.starts.len(), 3),
                Third::ComesLate => assert_eq!((round.starts.len(), last), (3, round.third)),
            }
        }
    }
}
