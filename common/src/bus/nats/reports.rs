//! What the connection says by itself: that it is up again, and what the server refuses.
//!
//! A refused request is answered by silence, and the reason comes beside it, as an event of the connection. So
//! the newest reason is kept for a moment, for the error of the request that it belongs to.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{ClientError, Event, ServerError};
use tokio::{sync::watch, time::Instant};

use super::{MAX_RECONNECT_PAUSE, REQUEST_TIMEOUT};
use crate::bus::Metrics;

/// What failed this soon after a refusal failed because of it: a request that was refused fails when its time
/// is over, and a connection that was not let in is tried again.
const REFUSAL_LASTS: Duration = REQUEST_TIMEOUT.saturating_mul(2).saturating_add(MAX_RECONNECT_PAUSE);

/// The same refusal is no news for so long.
const REFUSAL_IS_OLD: Duration = Duration::from_secs(60);

/// What one connection has said. Clones are handles to the same.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    metrics: Metrics,
    connections: watch::Sender<u64>,
    refusals: Arc<Mutex<Refusals>>,
}

#[derive(Debug, Default)]
struct Refusals {
    newest: Option<Refusal>,
    /// Why this connection hears no answer. A subscription is asked for once, so this is said once.
    deaf: Option<String>,
}

#[derive(Debug)]
struct Refusal {
    reason: String,
    at: Instant,
    told: Instant,
}

impl Reports {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, connections: watch::channel(0).0, refusals: Arc::default() }
    }

    /// Changes with each new connection.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// What the server refused a moment ago, or what keeps its answers from this connection.
    pub(super) fn refusal(&self) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = refusals.newest.as_ref().filter(|refusal| refusal.at.elapsed() < REFUSAL_LASTS);
        newest.map(|refusal| &refusal.reason).or(refusals.deaf.as_ref()).cloned()
    }

    /// Takes in an event of the connection.
    pub(super) fn take_in(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("the connection to NATS is up");
                self.refusals.lock().unwrap_or_else(PoisonError::into_inner).deaf = None;
                self.connections.send_modify(|count| *count = count.wrapping_add(1));
            }
            Event::Disconnected => tracing::warn!("the connection to NATS is down; reconnecting"),
            Event::SlowConsumer(_) => tracing::warn!("NATS dropped messages for this process; catching up"),
            // Of a connection that was not let in, the client tells only this.
            Event::ClientError(ClientError::Other(reason)) if is_refusal(reason) => self.refused(reason),
            Event::ServerError(ServerError::Other(reason)) if is_refusal(reason) => self.refused(reason),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.refused("Authorization Violation")
            }
            Event::ServerError(error) => tracing::error!(%error, "NATS reports an error"),
            other => tracing::debug!(event = %other, "NATS"),
        }
    }

    fn refused(&self, reason: &str) {
        self.metrics.violations.inc();
        let now = Instant::now();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = refusals.newest.take().filter(|before| before.reason == reason);
        let told = before.map(|before| before.told).filter(|told| told.elapsed() < REFUSAL_IS_OLD);
        if told.is_none() {
            tracing::error!(reason, "NATS refuses this process: look at its permissions and credentials");
        }
        refusals.newest = Some(Refusal { reason: reason.to_owned(), at: now, told: told.unwrap_or(now) });
        // Nothing of ours subscribes to anything but its own inbox.
        if reason.to_ascii_lowercase().contains("violation for subscription") {
            refusals.deaf = Some(reason.to_owned());
        }
    }
}

/// The server has no code for it, only words.
fn is_refusal(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["permissions violation", "authorization violation", "authentication"]
        .iter()
        .any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_counted_and_kept_for_a_moment() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let reports = Reports::new(metrics.clone());
        reports.take_in(&Event::ServerError(ServerError::Other("maximum payload violation".to_owned())));
        assert_eq!((reports.refusal(), metrics.violations.get()), (None, 0));
        let reason = "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.TICKS\"";
        reports.take_in(&Event::ServerError(ServerError::Other(reason.to_owned())));
        reports.take_in(&Event::ServerError(ServerError::Other(reason.to_owned())));
        assert_eq!((reports.refusal().as_deref(), metrics.violations.get()), (Some(reason), 2));
        tokio::time::advance(REFUSAL_LASTS).await;
        assert_eq!(reports.refusal(), None, "what fails now has another reason");
        reports.take_in(&Event::ClientError(ClientError::Other("authorization violation".to_owned())));
        assert!(reports.refusal().is_some());
        let deaf = "Permissions Violation for Subscription to \"_INBOX_api.x.*\"";
        reports.take_in(&Event::ServerError(ServerError::Other(deaf.to_owned())));
        reports.take_in(&Event::ServerError(ServerError::Other(reason.to_owned())));
        assert_eq!(reports.refusal().as_deref(), Some(reason));
        tokio::time::advance(REFUSAL_LASTS).await;
        assert_eq!(reports.refusal().as_deref(), Some(deaf), "no answer will come, however often one asks");
        reports.take_in(&Event::Connected);
        assert_eq!(reports.refusal(), None);
    }
}
