//! Publishes an import: the past of one pair, and nothing after it.

use std::{sync::Arc, time::Duration};

use common::{
    bus::LogWriter,
    domain::{Body, Interval, Origin, Pair},
    readiness::{Check, Condition},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{PublishError, Publisher, chain::Chain};
use crate::{
    lead::{LeadState, Leadership},
    metrics::Metrics,
};

impl Publisher {
    /// A publisher that only imports.
    pub(crate) fn of_past(
        (pair, interval, origin): (Pair, Interval, Origin),
        writer: Arc<dyn LogWriter>,
        leadership: Leadership,
        metrics: Metrics,
        check: Check,
    ) -> Self {
        check.set(Condition::Ready);
        let (pairs, backfill, takeovers) = (vec![pair], None, watch::channel(None).0);
        let stop = CancellationToken::new();
        Self { writer, pairs, backfill, interval, origin, leadership, takeovers, metrics, check, stop }
    }

    /// Waits for the lease, and appends the past of a pair that has no record yet.
    pub(crate) async fn import(
        mut self,
        pair: Pair,
        bodies: Vec<Body>,
        patience: Duration,
        progress: &mut (dyn FnMut(u32, u32) + Send),
    ) -> Result<(), PublishError> {
        let leads = self.leadership.until(|state| matches!(state, LeadState::Leading { .. }));
        timeout(patience, leads).await.map_err(|_elapsed| PublishError::Led)?;
        let LeadState::Leading { term, .. } = self.leadership.now() else { return Err(PublishError::Led) };
        let found = self.writer.newest(pair).await.map_err(PublishError::Log)?;
        if found.covered.is_some() || found.lost {
            return Err(PublishError::HasRecords(pair));
        }
        let mut chain = Chain::begin(&self, term, None).await?;
        if !chain.is_new(pair) {
            return Err(PublishError::HasRecords(pair));
        }
        let past = [(pair, bodies)].into();
        chain.append_past(past, self.interval, Duration::MAX, progress).await
    }
}
