//! The lifecycle of a process: build, run, and drain within a time limit. Every long-running command uses it.
//!
//! Every task gets a cancellation token that tells it to stop. If a task ends before it was told to stop, the whole
//! process ends with an error. So a process never keeps running without one of its parts.

use std::{future::Future, io, pin::pin, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// How long tasks may take to end after they were told to stop. Orchestrators such as Kubernetes wait longer than this
/// before they kill a process.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// The error of a task. It is logged once, with its causes.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// The tasks of a process, and what they share.
pub struct Service {
    tasks: JoinSet<(&'static str, Result<(), TaskError>)>,
    stop: CancellationToken,
    readiness: Readiness,
}

/// Why a process ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The signal handlers could not be installed.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// Building the process failed.
    #[error("cannot start")]
    Build(#[source] TaskError),
    /// A task failed.
    #[error("the {task} task failed")]
    Failed {
        /// The task's name.
        task: &'static str,
        /// The task's error.
        #[source]
        source: TaskError,
    },
    /// A task ended although it was not told to stop.
    #[error("the {task} task ended unexpectedly")]
    Ended {
        /// The task's name.
        task: &'static str,
    },
    /// A task panicked.
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
    /// Tasks were still running when the time limit expired.
    #[error("shutdown was not clean: {count} tasks were still running after {DRAIN_LIMIT:?}")]
    Drain {
        /// How many tasks were still running.
        count: usize,
    },
}

impl Service {
    /// Starts a task. It must end soon after [`Service::stop`] is cancelled, and not before.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// The token that tells tasks to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The readiness of the process.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

/// Builds a process, runs it until a signal arrives or a task ends, and drains it.
///
/// On SIGTERM, and on SIGHUP when its terminal is closed, the process becomes unready at once, but keeps serving for `grace`, so that load balancers can send requests
/// elsewhere. On SIGINT (Ctrl-C) it stops at once.
pub async fn run<B>(grace: Duration, build: B) -> Result<(), ServiceError>
where
    B: AsyncFnOnce(&mut Service) -> Result<(), TaskError>,
{
    let mut signals = Signals::install().map_err(ServiceError::Signals)?;
    let mut service =
        Service { tasks: JoinSet::new(), stop: CancellationToken::new(), readiness: Readiness::default() };

    let readiness = service.readiness.clone();
    let mut repeating = pin!(readiness.repeat_troubles());
    let signal_while_building = tokio::select! {
        never = &mut repeating => match never {},
        built = build(&mut service) => { built.map_err(ServiceError::Build)?; None }
        stop_signal = signals.next() => Some(stop_signal),
    };
    let outcome = match signal_while_building {
        Some(_) => Ok(()),
        None => tokio::select! {
            never = &mut repeating => match never {},
            ended = service.first_end() => Err(ended),
            stop_signal = signals.next() => service.wind_down(stop_signal, grace).await,
        },
    };
    service.stop.cancel();
    let drained = service.drain().await;
    match (outcome, drained) {
        // When a task fails, another task may end because of that and be noticed first. Report the failure, because it
        // is the cause.
        (Err(ServiceError::Ended { .. }), Err(failed @ ServiceError::Failed { .. })) => Err(failed),
        (outcome, drained) => outcome.and(drained),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopSignal {
    Interrupt,
    Terminate,
    HangUp,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
            _ = self.hang_up.recv() => StopSignal::HangUp,
        }
    }
}

impl Service {
    async fn first_end(&mut self) -> ServiceError {
        match self.tasks.join_next().await {
            Some(Ok((task, Ok(())))) => ServiceError::Ended { task },
            Some(Ok((task, Err(source)))) => ServiceError::Failed { task, source },
            Some(Err(error)) => ServiceError::Panicked(error),
            None => ServiceError::Ended { task: "only" },
        }
    }

    /// Makes the process unready, and keeps serving for `grace`.
    async fn wind_down(&mut self, stop_signal: StopSignal, grace: Duration) -> Result<(), ServiceError> {
        tracing::info!(event = "stopping", signal = ?stop_signal, "stopping");
        self.readiness.withdraw("stopping");
        if stop_signal == StopSignal::Interrupt {
            return Ok(());
        }
        tokio::select! {
            ended = self.first_end() => Err(ended),
            () = tokio::time::sleep(grace) => Ok(()),
        }
    }

    async fn drain(mut self) -> Result<(), ServiceError> {
        let all = async {
            let mut outcome = Ok(());
            while let Some(joined) = self.tasks.join_next().await {
                let ended = match joined {
                    Ok((_, Ok(()))) => Ok(()),
                    Ok((task, Err(source))) => Err(ServiceError::Failed { task, source }),
                    Err(error) => Err(ServiceError::Panicked(error)),
                };
                outcome = outcome.and(ended);
            }
            outcome
        };
        match tokio::time::timeout(DRAIN_LIMIT, all).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ServiceError::Drain { count: self.tasks.len() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_fails_ends_the_service() {
        let ended = run(Duration::ZERO, async |service: &mut Service| {
            let stop = service.stop();
            service.spawn("patient", async move {
                stop.cancelled().await;
                Ok(())
            });
            service.spawn("weak", async { Err("broken".into()) });
            Ok(())
        });
        assert!(matches!(ended.await, Err(ServiceError::Failed { task: "weak", .. })));
    }

    #[tokio::test]
    async fn a_task_that_ends_early_or_panics_ends_the_service() {
        let ended = run(Duration::ZERO, async |service: &mut Service| {
            service.spawn("short", async { Ok(()) });
            Ok(())
        });
        assert!(matches!(ended.await, Err(ServiceError::Ended { task: "short" })));
        let panicked = run(Duration::ZERO, async |service: &mut Service| {
            service.spawn("fragile", async { panic!("on purpose") });
            Ok(())
        });
        assert!(matches!(panicked.await, Err(ServiceError::Panicked(_))));
    }

    #[tokio::test]
    async fn if_two_tasks_end_together_the_failure_is_reported() {
        let ended = run(Duration::ZERO, async |service: &mut Service| {
            let stop = service.stop();
            service.spawn("reader", async { Ok(()) });
            service.spawn("writer", async move {
                stop.cancelled().await;
                Err("broken".into())
            });
            Ok(())
        });
        assert!(matches!(ended.await, Err(ServiceError::Failed { task: "writer", .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_does_not_hide_the_failure() {
        let ended = run(Duration::ZERO, async |service: &mut Service| {
            service.spawn("deaf", std::future::pending());
            service.spawn("weak", async { Err("broken".into()) });
            Ok(())
        });
        assert!(matches!(ended.await, Err(ServiceError::Failed { task: "weak", .. })));
    }
}
