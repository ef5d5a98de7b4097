//! Whether a process is ready, check by check, each with its reason.
//!
//! A part of the process holds a [`Check`] and says how it is. Unready takes the process out of service;
//! degraded only says so: when the log or the upstreams are away, all pods would leave at once, and none
//! would be left to answer with what it knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How one part of the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Ready,
    /// Serving, with something missing: why.
    Degraded(String),
    /// Not fit to serve: why.
    Unready(String),
}

/// Every check of a process. Clones are handles to the same checks.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Condition>>>,
}

/// One part's voice in the process's readiness.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a check, unready until it says otherwise.
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check { name, readiness: self.clone() };
        check.insert(Condition::Unready("starting".to_owned()));
        check
    }

    /// Makes the process unready for good, for a reason that is no news: it was asked to end.
    pub fn withdraw(&self, reason: &str) {
        let check = Check { name: "running", readiness: self.clone() };
        check.insert(Condition::Unready(reason.to_owned()));
    }

    /// Every check and its condition, by name.
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
    /// Says how this part is; changes are logged, repetitions are not.
    pub fn set(&self, condition: Condition) {
        let before = self.insert(condition.clone());
        if before.as_ref() == Some(&condition) {
            return;
        }
        match condition {
            Condition::Ready => tracing::info!(check = self.name, "ready"),
            Condition::Degraded(reason) => tracing::warn!(check = self.name, reason, "degraded"),
            Condition::Unready(reason) => tracing::warn!(check = self.name, reason, "not ready"),
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
    fn one_unready_check_is_enough_and_degraded_is_not() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (log, store) = (readiness.check("log"), readiness.check("store"));
        assert!(!readiness.is_ready());
        log.set(Condition::Degraded("away".to_owned()));
        assert!(!readiness.is_ready());
        store.set(Condition::Ready);
        assert!(readiness.is_ready());
    }
}
