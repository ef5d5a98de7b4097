//! Retries with a pause between attempts.

use tokio::time::sleep;

use super::RETRY_PAUSE;

/// Repeats an attempt until it succeeds, and logs a failure only once: the one after `quiet_failures` others. Cancel by
/// dropping the future.
pub(super) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    quiet_failures: u32,
    attempt: impl Fn() -> F,
    log: impl Fn(&E),
) -> T {
    let mut failures = 0_u32;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) if failures == quiet_failures => log(&error),
            Err(_) => {}
        }
        failures = failures.saturating_add(1);
        sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_logged_and_the_first_success_is_returned() {
        for (quiet_failures, expected) in [(0, vec![1]), (3, vec![4]), (9, vec![])] {
            let (attempts, logged) = (Cell::new(0), RefCell::new(Vec::new()));
            let attempt = async || {
                attempts.set(attempts.get() + 1);
                if attempts.get() < 7 { Err(attempts.get()) } else { Ok("done") }
            };
            let result = retry(quiet_failures, attempt, |failure| logged.borrow_mut().push(*failure)).await;
            assert_eq!((result, attempts.get(), logged.into_inner()), ("done", 7, expected));
        }
    }
}
