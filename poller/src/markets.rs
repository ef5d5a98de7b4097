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
    source::LeftOut,
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
        let mut standby = self.leadership.clone();
        loop {
            if self.leadership.now() == LeadState::Standby {
                self.stand_by();
                self.leadership.until(|state| *state != LeadState::Standby).await;
            }
            tokio::select! {
                // Each source on its own, so that a slow list does not delay the others.
                _never = join_all(self.members.iter().map(|member| self.refresh(member))) => {}
                () = standby.until(|state| *state == LeadState::Standby) => {}
            }
        }
    }

    async fn refresh(&self, member: &Member) {
        loop {
            let slot = self.interval.slot_at(self.clock.now());
            // The source logs a failure, and keeps it for the report.
            let _failure = member.source.refresh_markets(slot).await;
            self.report();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A standby asks no sources.
    fn stand_by(&self) {
        self.members
            .iter()
            .for_each(|member| self.metrics.sources.left_out(member.source.name(), &LeftOut::default()));
        self.check.set(Condition::Ready);
    }

    fn report(&self) {
        let (mut reasons, mut advice) = (Vec::new(), "");
        for member in &self.members {
            let name = member.source.name();
            let left_out = member.source.left_out();
            self.metrics.sources.left_out(name, &left_out);
            let pairs: Vec<String> =
                left_out.pairs.iter().map(|(pair, reason)| format!("{pair} ({reason})")).collect();
            if !pairs.is_empty() {
                advice = ". If a source will never have a pair, list the pair's other sources in pairs.<PAIR>.sources";
                reasons.push(format!("{name} is not asked for {}", pairs.join(", ")));
            }
            if let Some(failure) = left_out.list {
                reasons.push(format!("{name}'s list of markets cannot be loaded ({failure})"));
            }
        }
        self.check.set(match reasons.is_empty() {
            true => Condition::Ready,
            false => Condition::Degraded(format!("{}{advice}", reasons.join("; "))),
        });
    }
}
