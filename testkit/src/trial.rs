//! The end of a program that runs a trial.

use std::process::ExitCode;

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a trial, which returns whether all went well, and reports its error as one of the program with this `name`. If the
/// program is interrupted, the trial is dropped, and the processes that it has started end with it.
pub async fn exit_code(name: &str, trial: impl Future<Output = anyhow::Result<bool>>) -> ExitCode {
    let unless_interrupted = async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = trial => ended,
            _ = terminated.recv() => bail!("terminated"),
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| false).map_err(Into::into),
        }
    };
    match unless_interrupted.await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
