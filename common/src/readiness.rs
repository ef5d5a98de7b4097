//! The readiness of a process: several checks, each with a condition and a reason.
//!
//! Each part of the process has a [`Check`] and sets its condition. An unready check takes the process out of service.
//! A degraded check is only reported. It is used while the log or the sources are unavailable: if pods became unready
//! then, all of them would leave the load balancer at once, and no pod would be left to serve the data that it has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

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
    checks: Arc<Mutex<BTreeMap<&'static str, Condition>>>,
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
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().map(|(name, condition)| (*name, condition.clone())).collect()
    }

    /// Whether no check is unready.
    pub fn is_ready(&self) -> bool {
        self.report().iter().all(|(_, condition)| !matches!(condition, Condition::Unready(_)))
    }
}

impl Check {
    /// Sets the condition, and logs it if it has changed.
    pub fn set(&self, condition: Condition) {
        let before = self.insert(condition.clone());
        if before.as_ref() == Some(&condition) {
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

    fn insert(&self, condition: Condition) -> Option<Condition> {
        let mut checks = self.readiness.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.insert(self.name, condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
