//! Waiting for a condition, with a deadline.
//!
//! Generous deadlines are free: a test that passes never waits for one. On a slow machine the condition comes
//! later and the test still passes.

use std::time::Duration;

/// Between two looks at a condition: short beside a test, long beside the look itself.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries `probe` until it returns `Some`, and returns what it found.
///
/// The deadline also cuts off a probe that hangs. Time is tokio's, so this is not for tests that pause it.
///
/// # Panics
///
/// When the deadline passes first. The message names `what`.
pub async fn wait_until<T>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Option<T>) -> T {
    match poll_until(deadline, probe).await {
        Some(found) => found,
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        None => panic!("waited {deadline:?} in vain for: {what}"),
    }
}

/// Like [`wait_until`], for callers that have more to say than `what`: `None` when the deadline passed.
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

/// Like [`poll_until`], for probes that say what is still wrong: the last of it is the error when the deadline
/// passed.
///
/// # Errors
///
/// What was wrong last.
pub async fn poll_until_ok<T>(
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut last = None;
    let found = poll_until(deadline, async || probe().await.map_err(|error| last = Some(error)).ok()).await;
    let wrong = || last.unwrap_or_else(|| anyhow::anyhow!("the first look did not end"));
    found.ok_or_else(|| wrong().context(format!("still so after {deadline:?}")))
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
    async fn what_was_wrong_last_is_the_error() {
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
