//! Keeps the sources' lists of markets up to date while this poller leads, and reports the pairs that sources are not
//! asked for.
//!
//! This runs beside the slot loop, which never waits for a list.

use std::{sync::Arc, time::Duration};

use common::{
    clock::Clock,
    domain::Interval,
    readiness::{Check, Condition},
    service::TaskError,
};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Member,
    lead::{LeadState, Leadership},
    metrics::Metrics,
};

/// How often to look whether a list is due. Sources decide when that is.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The task that keeps lists of markets up to date.
pub(crate) struct Markets {
    pub(crate) members: Vec<Member>,
    pub(crate) interval: Interval,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leadership: Leadership,
    pub(crate) metrics: Metrics,
    pub(crate) check: Check,
}

impl Markets {
    /// Refreshes lists while this poller leads, until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        self.check.set(Condition::Ready);
        let _stopped = stop.run_until_cancelled(self.keep_up_to_date()).await;
        Ok(())
    }

    async fn keep_up_to_date(&mut self) {
        loop {
            if self.leadership.now() == LeadState::Standby {
                self.check.set(Condition::Ready);
                self.leadership.until(|state| *state != LeadState::Standby).await;
            }
            let slot = self.interval.slot_at(self.clock.now());
            join_all(self.members.iter().map(|member| member.source.refresh_markets(slot))).await;
            self.report();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn report(&self) {
        let slot = self.interval.slot_at(self.clock.now());
        let mut reasons = Vec::new();
        for member in &self.members {
            let name = member.source.name();
            let left_out = member.source.left_out(slot);
            self.metrics.sources.left_out(name, &left_out);
            if !left_out.is_empty() {
                let pairs: Vec<String> =
                    left_out.iter().map(|(pair, reason)| format!("{pair} {reason}")).collect();
                reasons.push(format!("{name}: {}", pairs.join(", ")));
            }
        }
        self.check.set(match reasons.is_empty() {
            true => Condition::Ready,
            false => Condition::Degraded(format!(
                "some sources are not asked for some pairs ({}); if that is permanent, set pairs.<PAIR>.sources",
                reasons.join("; ")
            )),
        });
    }
}
