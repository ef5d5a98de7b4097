//! Retries with a pause between attempts.
//!
//! Everything that waits for the log uses these functions. To cancel a retry, drop its future.

use std::{convert::Infallible, time::Duration};

use tokio::time::sleep;

/// The pause between two attempts.
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Repeats an attempt until it succeeds, or until `failed` returns an error for a failed attempt.
///
/// # Errors
///
/// Returns the error of `failed`.
pub async fn retry<T, E, G, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
    mut failed: impl FnMut(E) -> Result<(), G>,
) -> Result<T, G> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => failed(error)?,
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Repeats an attempt until it succeeds. The first `quiet_failures` failures are not logged, the next one is, and all
/// later ones are not.
pub async fn retry_until_success<T, E, F: Future<Output = Result<T, E>>>(
    quiet_failures: u32,
    attempt: impl Fn() -> F,
    log: impl Fn(&E),
) -> T {
    let mut failures = 0_u32;
    let failed = |error| {
        if failures == quiet_failures {
            log(&error);
        }
        failures = failures.saturating_add(1);
        Ok::<(), Infallible>(())
    };
    let Ok(done) = retry(attempt, failed).await;
    done
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
            let log = |failure: &i32| logged.borrow_mut().push(*failure);
            let result = retry_until_success(quiet_failures, attempt, log).await;
            assert_eq!((result, attempts.get(), logged.into_inner()), ("done", 7, expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_error_ends_the_retries() {
        let attempts = Cell::new(0);
        let attempt = async || {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(attempts.get())
        };
        let result = retry(attempt, |failure| if failure < 3 { Ok(()) } else { Err(failure) }).await;
        assert_eq!((result, attempts.get()), (Err(3), 3));
    }
}
