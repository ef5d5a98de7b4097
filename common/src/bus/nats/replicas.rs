//! Determines which servers of a cluster have a complete copy of the log, and reports when some do not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::stream::{Info, PeerInfo};

use crate::{
    bus::Metrics,
    readiness::{Check, Condition},
};

/// If the leader has heard from a follower within this time, the follower cannot have elected another leader since
/// then: nats-server's followers wait at least 4 s before they start an election. A healthy follower responds every
/// second.
const HEARD_WITHIN: Duration = Duration::from_secs(4);

/// The replicas of a stream, according to its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replicas {
    /// How many servers should have a copy.
    pub(super) wanted: usize,
    /// How many servers have a complete copy, including the leader. Zero if `is_led` is false.
    pub(super) current: usize,
    /// The servers that are down or do not have a complete copy.
    pub(super) behind: Vec<String>,
    /// Whether the responding server is the leader and has recently heard from a majority. If not, the server may be
    /// a former leader that is cut off from the others and does not know the new leader. A former leader keeps
    /// responding for up to 20 s.
    pub(super) is_led: bool,
}

impl Replicas {
    pub(super) fn of(info: &Info) -> Self {
        let wanted = info.config.num_replicas.max(1);
        let Some(cluster) = &info.cluster else {
            // The server is not part of a cluster, so it has the only copy.
            return Self { wanted, current: 1, behind: Vec::new(), is_led: true };
        };
        let followers = cluster.replicas.as_slice();
        // While replicas are being removed, there may still be more of them than the options say. Count all of them.
        let wanted = wanted.max(followers.len() + 1);
        let heard = 1 + followers.iter().filter(|follower| is_heard(follower)).count();
        let is_led = cluster.leader.is_some() && heard > wanted / 2;
        let (current, lagging): (Vec<_>, Vec<_>) =
            followers.iter().partition(|follower| follower.current && is_heard(follower));
        let unplaced = (followers.len() + 1..wanted).map(|_| "a server that is not assigned yet".to_owned());
        let behind = lagging.into_iter().map(|follower| follower.name.clone()).chain(unplaced).collect();
        let current = if is_led { current.len() + 1 } else { 0 };
        Self { wanted, current, behind, is_led }
    }

    /// Whether every server that should have a copy has a complete one.
    pub(super) fn are_all_current(&self) -> bool {
        self.is_led && self.behind.is_empty()
    }
}

/// Reports the replicas as metrics, log lines and a readiness check. Clones share the last report.
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

    /// Adds a readiness check.
    pub(super) fn with_check(self, check: Check) -> Self {
        check.set(Condition::Ready);
        Self { check: Some(check), ..self }
    }

    /// Reports that the state of the replicas is unknown, because the log has no leader or does not respond.
    pub(super) fn unknown(&self) {
        self.metrics.replicas_current.set(0);
        if let Some(check) = &self.check {
            let reason = "it is unknown how many NATS servers have a complete copy of the log, because the log does \
                          not respond, has no leader or does not exist";
            check.set(Condition::Degraded(reason.to_owned()));
        }
    }

    /// Reports the state of the replicas. Logs only changes.
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
                "{current} of {wanted} NATS servers have a complete copy of the log; down or not up to date: {servers}"
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
                "every NATS server has a complete copy of the log again"
            );
        } else {
            tracing::warn!(
                event = "log_replicas_missing",
                current,
                wanted,
                servers,
                "not every NATS server has a complete copy of the log; if this persists, see \"A NATS server is not ready\" in \
                 docs/operations.md"
            );
        }
    }
}

/// Whether the leader has recently heard from a follower. `active` is the time since then. It is also zero if the
/// leader has never heard from the follower, but then the follower is not `current` either.
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
    fn a_leader_counts_only_while_a_majority_responds_to_it() {
        // Each case is a response of a real cluster of three servers.
        let healthy = replicas(Some("n2"), &[("n0", true, 680), ("n1", true, 680)]);
        assert_eq!((healthy.current, healthy.is_led, healthy.are_all_current()), (3, true, true));
        let one_dead = replicas(Some("n0"), &[("n1", true, 810), ("n2", false, 0)]);
        assert_eq!((one_dead.current, one_dead.is_led, one_dead.are_all_current()), (2, true, false));
        assert_eq!(one_dead.behind, ["n2"]);
        let cut_off = replicas(Some("n2"), &[("n0", true, 5_690), ("n1", true, 5_690)]);
        assert_eq!(
            (cut_off.current, cut_off.is_led),
            (0, false),
            "a leader that is cut off still reports its followers as current"
        );
        let leaderless = replicas(None, &[("n0", false, 0), ("n1", false, 0), ("n2", true, 970)]);
        assert!(!leaderless.is_led && !leaderless.are_all_current());
        let moving = replicas(Some("n2"), &[("n0", true, 500)]);
        assert_eq!((moving.current, moving.behind.len()), (2, 1));
    }
}
