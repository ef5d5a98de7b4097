//! Waiting for a condition, with a deadline.
//!
//! Deadlines can be generous, because a test that passes never waits until the deadline.

use std::time::Duration;

/// The time between two attempts: short compared with a test, long compared with an attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries `probe` until it returns `Some`, and returns what it found.
///
/// The deadline also ends a probe that hangs. Deadlines use tokio's clock, so tests must not pause that clock.
///
/// # Panics
///
/// Panics if the deadline passes first. The message contains `what`.
pub async fn wait_until<T>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Option<T>) -> T {
    match poll_until(deadline, probe).await {
        Some(found) => found,
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        None => panic!("timed out after {deadline:?} waiting for: {what}"),
    }
}

/// Like [`wait_until`], but returns `None` if the deadline passes.
pub async fn poll_until<T>(deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let polling = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(deadline, polling).await.ok()
}

/// Like [`poll_until`], for probes that return errors. If the deadline passes, the last error is returned.
///
/// # Errors
///
/// Fails with the probe's last error if the deadline passes.
pub async fn poll_until_ok<T>(
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut last = None;
    let found = poll_until(deadline, async || probe().await.map_err(|error| last = Some(error)).ok()).await;
    let wrong = || last.unwrap_or_else(|| anyhow::anyhow!("the first attempt did not finish"));
    found.ok_or_else(|| wrong().context(format!("this was still the case after {deadline:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_what_the_probe_found() {
        let mut tries = 0;
        let found = wait_until("three tries", Duration::from_secs(60), async || {
            tries += 1;
            (tries == 3).then_some("found")
        })
        .await;
        assert_eq!((found, tries), ("found", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "the impossible")]
    async fn panics_with_what_was_waited_for() {
        wait_until("the impossible", Duration::ZERO, async || None::<()>).await;
    }

    #[tokio::test]
    async fn the_last_error_is_returned() {
        let mut tries = 0;
        let probe = async || {
            tries += 1;
            anyhow::ensure!(tries == 3, "only {tries}");
            Ok(tries)
        };
        assert_eq!(poll_until_ok(Duration::from_secs(60), probe).await.unwrap(), 3);
        let never = poll_until_ok(Duration::from_millis(1), async || anyhow::bail!("never"));
        let error: anyhow::Result<()> = never.await;
        assert_eq!(error.unwrap_err().root_cause().to_string(), "never");
    }

    #[tokio::test]
    async fn the_deadline_cuts_off_a_probe_that_hangs() {
        let found = poll_until(Duration::from_millis(1), async || std::future::pending::<Option<()>>().await);
        assert_eq!(found.await, None);
    }
}
