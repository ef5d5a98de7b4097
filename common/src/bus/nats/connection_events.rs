//! Handles the events of the connection: connects, disconnects and denied permissions.
//!
//! NATS does not respond to a request without permission. The reason arrives separately, as an event of the connection. So
//! the newest reason is kept for a while, to explain the request that fails because of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{ClientError, Event, ServerError};
use tokio::{sync::watch, time::Instant};

use super::{MAX_RECONNECT_PAUSE, REQUEST_TIMEOUT};
use crate::bus::Metrics;

/// If a request fails within this time after a denial, the denial is taken as the reason. The time is this long because
/// a denied request fails only when it times out, and a rejected connection is retried first.
const DENIAL_EXPLAINS: Duration = REQUEST_TIMEOUT.saturating_mul(2).saturating_add(MAX_RECONNECT_PAUSE);

/// A denial with the same reason as the previous one is not logged again within this time.
const REPEAT_PAUSE: Duration = Duration::from_secs(60);

/// The events of one connection. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct ConnectionEvents {
    metrics: Metrics,
    /// What the server refuses if it refuses this process's login.
    login: &'static str,
    connections: watch::Sender<u64>,
    denials: Arc<Mutex<Denials>>,
}

#[derive(Debug, Default)]
struct Denials {
    newest: Option<Denial>,
    /// Set if the server denied the subscription to this process's inbox, so that no response can arrive on this
    /// connection. The client subscribes only once for each connection, so this is kept until the next connection.
    inbox: Option<String>,
}

#[derive(Debug)]
struct Denial {
    reason: String,
    at: Instant,
    logged_at: Instant,
}

impl ConnectionEvents {
    pub(super) fn new(metrics: Metrics, login: &'static str) -> Self {
        Self { metrics, login, connections: watch::channel(0).0, denials: Arc::default() }
    }

    /// The number of connections so far. It changes with each new connection.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// The reason of a recent denial, or of the denied subscription to this process's inbox.
    pub(super) fn denial(&self) -> Option<String> {
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = denials.newest.as_ref().filter(|denial| denial.at.elapsed() < DENIAL_EXPLAINS);
        newest.map(|denial| &denial.reason).or(denials.inbox.as_ref()).cloned()
    }

    pub(super) fn handle(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.metrics.connections.inc();
                tracing::info!(event = "nats_connection_up", "the connection to NATS is up");
                self.denials.lock().unwrap_or_else(PoisonError::into_inner).inbox = None;
                self.connections.send_modify(|count| *count = count.wrapping_add(1));
            }
            Event::Disconnected => {
                tracing::warn!(event = "nats_connection_down", "lost the connection to NATS; reconnecting");
            }
            Event::SlowConsumer(_) => {
                tracing::warn!(
                    event = "nats_messages_dropped",
                    "messages from NATS were dropped because this process did not read them in time; reading them again"
                );
            }
            // If the server refuses the login when this process reconnects, one of these events is all that the client
            // reports.
            Event::ClientError(ClientError::Other(reason)) if is_refused_login(reason) => {
                self.refused_login()
            }
            Event::ServerError(ServerError::AuthorizationViolation) => self.refused_login(),
            Event::ClientError(ClientError::Other(reason)) if is_denial(reason) => self.denied(reason),
            Event::ServerError(ServerError::Other(reason)) if is_denial(reason) => self.denied(reason),
            Event::ServerError(error) => {
                tracing::error!(event = "nats_error", %error, "NATS reported an error")
            }
            other => tracing::debug!(event = "nats_event", detail = %other, "NATS client event"),
        }
    }

    fn refused_login(&self) {
        self.denied(&format!("authorization violation: the server refused {}", self.login));
    }

    fn denied(&self, reason: &str) {
        self.metrics.denials.inc();
        let now = Instant::now();
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let before = denials.newest.take().filter(|before| before.reason == reason);
        let logged_at = before.map(|before| before.logged_at).filter(|at| at.elapsed() < REPEAT_PAUSE);
        if logged_at.is_none() {
            tracing::error!(
                event = "nats_permission_denied",
                reason,
                "NATS denied a connection or a request; check this process's login (bus.credentials_file, or bus.user \
                 and bus.password_file), and the permissions of its role in the server's nats.conf"
            );
        }
        denials.newest =
            Some(Denial { reason: reason.to_owned(), at: now, logged_at: logged_at.unwrap_or(now) });
        // This process subscribes to nothing but its own inbox, so it was the inbox that was denied.
        if reason.to_ascii_lowercase().contains("violation for subscription") {
            denials.inbox = Some(reason.to_owned());
        }
    }
}

/// Whether the server refused the login.
fn is_refused_login(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("authorization violation")
}

/// Whether an error is a denial. NATS has no error codes for denials, only texts.
fn is_denial(reason: &str) -> bool {
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
    async fn a_denial_is_counted_and_kept_for_a_while() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let events = ConnectionEvents::new(metrics.clone(), "the key");
        events.handle(&Event::ServerError(ServerError::Other("maximum payload violation".to_owned())));
        assert_eq!((events.denial(), metrics.denials.get()), (None, 0));
        let reason = "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.TICKS\"";
        events.handle(&Event::ServerError(ServerError::Other(reason.to_owned())));
        events.handle(&Event::ServerError(ServerError::Other(reason.to_owned())));
        assert_eq!((events.denial().as_deref(), metrics.denials.get()), (Some(reason), 2));
        tokio::time::advance(DENIAL_EXPLAINS).await;
        assert_eq!(events.denial(), None, "a failure now has another reason");
        events.handle(&Event::ClientError(ClientError::Other("authorization violation".to_owned())));
        assert_eq!(
            events.denial().as_deref(),
            Some("authorization violation: the server refused the key"),
            "the client's reason does not name what was refused"
        );
        let inbox = "Permissions Violation for Subscription to \"_INBOX_api.x.*\"";
        events.handle(&Event::ServerError(ServerError::Other(inbox.to_owned())));
        events.handle(&Event::ServerError(ServerError::Other(reason.to_owned())));
        assert_eq!(events.denial().as_deref(), Some(reason));
        tokio::time::advance(DENIAL_EXPLAINS).await;
        assert_eq!(events.denial().as_deref(), Some(inbox), "no response can arrive on this connection");
        events.handle(&Event::Connected);
        assert_eq!((events.denial(), metrics.connections.get()), (None, 1));
    }
}
