//! The readiness of a process: several checks, each with a condition and a reason.
//!
//! Each part of the process has a [`Check`] and sets its condition. An unready check takes the process out of service.
//! A degraded check is only reported. It is used while the log or the sources are unavailable: if pods became unready
//! then, all of them would leave the load balancer at once, and no pod would be left to serve the data that it has.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How often a trouble that lasts is logged again, so that the newest part of a log shows it.
const REPEAT_AFTER: Duration = Duration::from_secs(300);

/// How often it is checked whether a trouble has to be logged again.
const REPEAT_CHECK: Duration = Duration::from_secs(10);

/// The condition of one part of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Everything works.
    Ready,
    /// The part works, but something is missing. Contains the reason.
    Degraded(String),
    /// The part does not work. Contains the reason.
    Unready(String),
}

/// All checks of a process. Clones share the same checks.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

/// What is known about one part.
#[derive(Debug)]
struct State {
    condition: Condition,
    /// Since when the part has not been ready, if it is not.
    since: Instant,
    /// When the condition was logged.
    logged: Instant,
}

/// A part that has not been ready for a while.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    check: &'static str,
    lasted: Duration,
    condition: Condition,
}

/// The handle with which one part of the process sets its condition.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a check. It is unready until its condition is set.
    pub fn check(&self, name: &'static str) -> Check {
        self.check_that_is(name, Condition::Unready("starting".to_owned()))
    }

    /// Adds a check with its first condition, which is not logged.
    pub fn check_that_is(&self, name: &'static str, condition: Condition) -> Check {
        let check = Check { name, readiness: self.clone() };
        check.insert(condition);
        check
    }

    /// Makes the process unready permanently, because it is stopping. Does not log that, because the caller does.
    pub fn withdraw(&self, reason: &str) {
        let check = Check { name: "running", readiness: self.clone() };
        check.insert(Condition::Unready(reason.to_owned()));
    }

    /// Returns every check and its condition, sorted by name.
    pub fn report(&self) -> Vec<(&'static str, Condition)> {
        self.checks().iter().map(|(name, state)| (*name, state.condition.clone())).collect()
    }

    /// Logs again, every few minutes, which parts are still not ready, and for how long. Never returns.
    pub async fn repeat_troubles(&self) -> Infallible {
        loop {
            sleep(REPEAT_CHECK).await;
            for Trouble { check, lasted, condition } in self.lasting_troubles(Instant::now()) {
                let (Condition::Degraded(reason) | Condition::Unready(reason)) = condition else { continue };
                tracing::warn!(
                    event = "trouble_continues",
                    check,
                    reason,
                    seconds = lasted.as_secs(),
                    "the check is still not ready"
                );
            }
        }
    }

    /// The troubles that were logged too long ago. They count as logged now.
    fn lasting_troubles(&self, now: Instant) -> Vec<Trouble> {
        let mut checks = self.checks();
        let is_due =
            |state: &State| state.condition != Condition::Ready && now - state.logged >= REPEAT_AFTER;
        let due = checks.iter_mut().filter(|(_, state)| is_due(state));
        due.map(|(check, state)| {
            state.logged = now;
            Trouble { check, lasted: now - state.since, condition: state.condition.clone() }
        })
        .collect()
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no check is unready.
    pub fn is_ready(&self) -> bool {
        self.report().iter().all(|(_, condition)| !matches!(condition, Condition::Unready(_)))
    }
}

impl Check {
    /// Whether this part is ready.
    pub fn is_ready(&self) -> bool {
        self.readiness.checks().get(self.name).is_some_and(|state| state.condition == Condition::Ready)
    }

    /// Sets the condition, and logs it if it has changed.
    pub fn set(&self, condition: Condition) {
        if !self.insert(condition.clone()) {
            return;
        }
        match condition {
            Condition::Ready => tracing::info!(event = "ready", check = self.name, "the check is ready"),
            Condition::Degraded(reason) => {
                tracing::warn!(event = "degraded", check = self.name, reason, "the check is degraded");
            }
            Condition::Unready(reason) => {
                tracing::warn!(event = "unready", check = self.name, reason, "the check is not ready");
            }
        }
    }

    /// Returns whether the condition has changed.
    fn insert(&self, condition: Condition) -> bool {
        let (mut checks, now) = (self.readiness.checks(), Instant::now());
        let Some(state) = checks.get_mut(self.name) else {
            checks.insert(self.name, State { condition, since: now, logged: now });
            return true;
        };
        if state.condition == condition {
            return false;
        }
        let since = if state.condition == Condition::Ready { now } else { state.since };
        *state = State { condition, since, logged: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_that_lasts_is_logged_again_every_few_minutes() {
        let readiness = Readiness::default();
        let (log, sources) = (readiness.check("log"), readiness.check("sources"));
        log.set(Condition::Ready);
        let degraded = |reason: &str| Condition::Degraded(reason.to_owned());
        let due = || readiness.lasting_troubles(Instant::now());
        let trouble = |seconds, condition| Trouble {
            check: "sources",
            lasted: Duration::from_secs(seconds),
            condition,
        };
        sleep(Duration::from_secs(200)).await;
        // A change is logged when it happens, so the pause begins again. The trouble has lasted for longer.
        sources.set(degraded("dns"));
        sleep(Duration::from_secs(299)).await;
        sources.set(degraded("dns"));
        assert_eq!(due(), []);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(due(), [trouble(500, degraded("dns"))]);
        assert_eq!(due(), []);
        sleep(REPEAT_AFTER).await;
        assert_eq!(due(), [trouble(800, degraded("dns"))]);
        sources.set(Condition::Ready);
        sleep(REPEAT_AFTER).await;
        assert_eq!(due(), []);
        // The duration of the next trouble is counted from its own start.
        sources.set(degraded("tls"));
        sleep(REPEAT_AFTER).await;
        assert_eq!(due(), [trouble(300, degraded("tls"))]);
    }

    #[test]
    fn an_unready_check_makes_the_process_unready_and_a_degraded_one_does_not() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (log, store) = (readiness.check("log"), readiness.check("store"));
        assert!(!readiness.is_ready());
        log.set(Condition::Degraded("unreachable".to_owned()));
        assert!(!readiness.is_ready());
        store.set(Condition::Ready);
        assert!(readiness.is_ready());
    }
}
