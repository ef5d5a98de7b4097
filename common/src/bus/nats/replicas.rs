//! Which servers of a cluster hold the log, as the stream's leader sees them, and reporting it when some do not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::stream::{Info, PeerInfo};

use crate::{
    bus::Metrics,
    readiness::{Check, Condition},
};

/// A follower that the leader heard from within this time has not elected another leader meanwhile: nats-server's
/// followers wait at least 4 s for their leader before they begin an election. A healthy follower answers every second.
const HEARD_WITHIN: Duration = Duration::from_secs(4);

/// The replicas of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replicas {
    /// How many there should be.
    pub(super) wanted: usize,
    /// How many have everything, the leader included.
    pub(super) current: usize,
    /// The servers that do not have everything, or are away.
    pub(super) behind: Vec<String>,
    /// Whether the server that answered leads the stream and was heard by a majority just now. Without that, it may be
    /// a former leader that was cut off and does not know of a newer one: it goes on answering for up to 20 s.
    pub(super) is_led: bool,
}

impl Replicas {
    /// What the stream's leader says of them.
    pub(super) fn of(info: &Info) -> Self {
        let wanted = info.config.num_replicas.max(1);
        let Some(cluster) = &info.cluster else {
            // A server without a cluster.
            return Self { wanted, current: 1, behind: Vec::new(), is_led: true };
        };
        let followers = cluster.replicas.as_slice();
        // While replicas are taken away, those that are still there count.
        let wanted = wanted.max(followers.len() + 1);
        let heard = 1 + followers.iter().filter(|follower| is_heard(follower)).count();
        let is_led = cluster.leader.is_some() && heard > wanted / 2;
        let (current, lagging): (Vec<_>, Vec<_>) =
            followers.iter().partition(|follower| follower.current && is_heard(follower));
        let unplaced = (followers.len() + 1..wanted).map(|_| "a server that is still to be found".to_owned());
        let behind = lagging.into_iter().map(|follower| follower.name.clone()).chain(unplaced).collect();
        let current = if is_led { current.len() + 1 } else { 0 };
        Self { wanted, current, behind, is_led }
    }

    /// Whether every server that should hold the stream has all of it.
    pub(super) fn are_all_current(&self) -> bool {
        self.is_led && self.behind.is_empty()
    }
}

/// What one connection reports about the replicas. Clones share what was reported last.
#[derive(Debug, Clone)]
pub(super) struct ReplicaReport {
    metrics: Metrics,
    check: Option<Check>,
    behind: Arc<Mutex<Vec<String>>>,
}

impl ReplicaReport {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, check: None, behind: Arc::default() }
    }

    /// The same, and a check of the process's readiness that says so.
    pub(super) fn with_check(self, check: Check) -> Self {
        check.set(Condition::Ready);
        Self { check: Some(check), ..self }
    }

    /// Nobody knows how the replicas are: the log has no leader, or does not answer.
    pub(super) fn unknown(&self) {
        self.metrics.replicas_current.set(0);
    }

    /// Reports how they are; in the log only when that changes.
    pub(super) fn report(&self, replicas: &Replicas) {
        if !replicas.is_led {
            return self.unknown();
        }
        let (current, wanted) = (replicas.current, replicas.wanted);
        self.metrics.replicas_current.set(i64::try_from(current).unwrap_or(i64::MAX));
        self.metrics.replicas_wanted.set(i64::try_from(wanted).unwrap_or(i64::MAX));
        let servers = replicas.behind.join(", ");
        let condition = match replicas.behind.is_empty() {
            true => Condition::Ready,
            false => Condition::Degraded(format!(
                "{current} of {wanted} NATS servers have all of the log; behind or away: {servers}"
            )),
        };
        if let Some(check) = &self.check {
            check.set(condition);
        }
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if *behind == replicas.behind {
            return;
        }
        behind.clone_from(&replicas.behind);
        if replicas.behind.is_empty() {
            tracing::info!(
                event = "log_replicas_complete",
                current,
                wanted,
                "every NATS server has all of the log again"
            );
        } else {
            tracing::warn!(
                event = "log_replicas_missing",
                current,
                wanted,
                servers,
                "not every NATS server has all of the log; if it stays so, see \"A NATS server is not ready\" in docs/operations.md"
            );
        }
    }
}

/// A follower that was never heard of has an `active` of zero, and is not current.
fn is_heard(follower: &PeerInfo) -> bool {
    let heard_once = follower.current || !follower.active.is_zero();
    heard_once && !follower.offline && follower.active < HEARD_WITHIN
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replicas(leader: Option<&str>, followers: &[(&str, bool, u64)]) -> Replicas {
        let peers: Vec<_> = followers
            .iter()
            .map(|(name, current, active_ms)| {
                json!({"name": name, "current": current, "active": active_ms * 1_000_000})
            })
            .collect();
        let info = json!({
            "config": {"name": "TICKS", "subjects": ["ticks.>"], "num_replicas": 3, "retention": "limits",
                       "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "old", "max_age": 0,
                       "storage": "file"},
            "created": "2026-01-01T00:00:00Z",
            "state": {"messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "2026-01-01T00:00:00Z",
                      "last_seq": 0, "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0},
            "cluster": {"name": "c", "leader": leader, "replicas": peers},
            "ts": "2026-01-01T00:00:00Z",
        });
        Replicas::of(&serde_json::from_value(info).unwrap())
    }

    #[test]
    fn a_leader_counts_only_while_a_majority_answers_it() {
        // Each line is what a real cluster of three said.
        let healthy = replicas(Some("n2"), &[("n0", true, 680), ("n1", true, 680)]);
        assert_eq!((healthy.current, healthy.is_led, healthy.are_all_current()), (3, true, true));
        let one_dead = replicas(Some("n0"), &[("n1", true, 810), ("n2", false, 0)]);
        assert_eq!((one_dead.current, one_dead.is_led, one_dead.are_all_current()), (2, true, false));
        assert_eq!(one_dead.behind, ["n2"]);
        let cut_off = replicas(Some("n2"), &[("n0", true, 5_690), ("n1", true, 5_690)]);
        assert_eq!((cut_off.current, cut_off.is_led), (0, false), "it still calls its followers current");
        let leaderless = replicas(None, &[("n0", false, 0), ("n1", false, 0), ("n2", true, 970)]);
        assert!(!leaderless.is_led && !leaderless.are_all_current());
        let moving = replicas(Some("n2"), &[("n0", true, 500)]);
        assert_eq!((moving.current, moving.behind.len()), (2, 1));
    }
}
