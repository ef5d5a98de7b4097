//! Runs the asynchronous work of a command.

use anyhow::{Context, Result};

/// Runs the work of a command to its end, on one thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}
