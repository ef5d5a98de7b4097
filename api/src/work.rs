//! Work away from the threads that serve all connections: reads that may block on the disk, and computations that take
//! long.
//!
//! Short reads use the runtime's threads for blocking work, as does the task that follows the log. Long work has threads of
//! its own with a lower priority, which only get the CPU time that no other thread needs. So a request for the newest price
//! does not wait for long work. Each kind of work has few places. A request waits a short time for a place and is then
//! refused.

use std::{io, sync::Arc, sync::LazyLock, thread, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::problem::{Code, Problem};

/// The maximum number of short reads at once. More reads in parallel would not be faster.
const MAX_READS: usize = 16;

/// One in so many cores does long work for responses, and one for streams that catch up, but at least one core each. Long
/// work keeps a core busy, and more work at once would only take more memory.
const CORES_PER_PLACE: usize = 2;

/// How many requests may wait for long work. A pod does about as much in [`MAX_WAIT`] on one core.
const MAX_WAITING: usize = 64;

/// How long a request waits for a place. After that the request is refused, so that the client can use another pod.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// From this size of its body on, finishing a response is long work. For a body of this size, it takes about a millisecond.
const LONG_BYTES: usize = 128 * 1024;

/// How much lower the priority of long work is, as the `nice` value of its threads. With 10, such a thread gets a tenth of
/// the time of another thread that needs the same core.
const LOWER_PRIORITY: i32 = 10;

/// The threads for long work. They belong to a runtime that does nothing else. There is one for the whole process, because
/// the number of cores belongs to the process too, and because a runtime must not be dropped by a task.
static LONG_THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let lower_priority = || {
        // On Linux, this concerns only the calling thread. It cannot fail there, because only a higher priority needs
        // a privilege.
        #[cfg(target_os = "linux")]
        let _priority = rustix::process::nice(LOWER_PRIORITY);
    };
    let builder = &mut Builder::new_current_thread();
    builder.thread_name("long-work").on_thread_start(lower_priority);
    builder.max_blocking_threads(2 * places()).build()
});

fn places() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(CORES_PER_PLACE))
}

/// Limits how much of each kind of work a pod does at once. Clones share the same places.
#[derive(Debug, Clone)]
pub struct Workers {
    reads: Arc<Semaphore>,
    long: Arc<Semaphore>,
    catching_up: Arc<Semaphore>,
    /// The places of those that wait for a place in `long`.
    waiting: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self {
            reads: semaphore(MAX_READS),
            long: semaphore(places()),
            catching_up: semaphore(places()),
            waiting: semaphore(MAX_WAITING),
        }
    }
}

impl Workers {
    /// Reads something that takes at most some milliseconds.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = place(&self.reads).await?;
        let reading = tokio::task::spawn_blocking(move || keeping(place, read));
        reading.await.map_err(Problem::internal)?
    }

    /// Computes something that may take longer: a page with many rows, or a scan.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let waiting = self.waiting.try_acquire().map_err(|_all_taken| busy())?;
        let place = place(&self.long).await?;
        drop(waiting);
        run_long(place, compute).await?
    }

    /// Does work that is either short or long.
    pub(crate) async fn read_or_compute<T: Send + 'static>(
        &self,
        is_long: bool,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        if is_long { self.compute(work).await } else { self.read(work).await }
    }

    /// Does the rest of the work on a response, whose body has this many bytes. Returns `None` if the work panicked. There is no
    /// limit on how many long responses wait for this, because each has waited for its computation before.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if bytes < LONG_BYTES {
            return Some(work());
        }
        let place = self.long.clone().acquire_owned().await.ok()?;
        run_long(place, work).await.ok()
    }

    /// Reads the next events for a stream that is behind. The number of streams is limited already.
    pub(crate) async fn catch_up<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        run_long(place(&self.catching_up).await?, read).await?
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    match timeout(MAX_WAIT, places.clone().acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(busy()),
    }
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "too many requests are reading history; retry in a moment").retry_after(1)
}

async fn run_long<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let threads = LONG_THREADS.as_ref().map_err(Problem::internal)?;
    threads.handle().spawn_blocking(move || keeping(place, work)).await.map_err(Problem::internal)
}

/// Keeps the place until the work is done, even if the client has gone.
fn keeping<T>(_place: OwnedSemaphorePermit, work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// Takes all places for long work until the sender is dropped.
    async fn occupy(workers: &Workers) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _place in 0..places() {
            let (workers, held) = (workers.clone(), held.clone());
            tokio::spawn(
                async move { workers.compute(move || Ok(held.lock().unwrap().recv().is_ok())).await },
            );
        }
        while workers.long.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        release
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_place_is_refused_and_other_kinds_of_work_continue() {
        let workers = Workers::default();
        let release = occupy(&workers).await;
        let refused = workers.compute(|| Ok(())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Busy, "{refused}");
        assert!(workers.read(|| Ok(())).await.is_ok(), "short reads have their own places");
        assert!(workers.catch_up(|| Ok(())).await.is_ok(), "streams have their own places");
        drop(release);
        assert_eq!(workers.finish(LONG_BYTES, || 1).await, Some(1));
        assert!(workers.compute(|| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn only_so_many_requests_wait_and_further_ones_are_refused_at_once() {
        let workers = Workers::default();
        let release = occupy(&workers).await;
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(workers.compute(|| Ok(())))).collect();
        for request in &mut waiting {
            assert!(futures::poll!(request).is_pending());
        }
        let refused = futures::poll!(Box::pin(workers.compute(|| Ok(()))));
        assert!(
            matches!(&refused, std::task::Poll::Ready(Err(problem)) if problem.code() == Code::Busy),
            "{refused:?}"
        );
        drop(release);
        for request in waiting {
            request.await.unwrap();
        }
        assert_eq!(workers.waiting.available_permits(), MAX_WAITING);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn long_work_has_a_lower_priority_than_the_threads_that_serve_connections() {
        let priority = || rustix::process::getpriority_process(None).map_err(Problem::internal);
        let workers = Workers::default();
        let own = priority().unwrap();
        let lower = (own + LOWER_PRIORITY).min(19);
        assert_eq!(workers.compute(priority).await.unwrap(), lower);
        assert_eq!(workers.finish(LONG_BYTES, priority).await.unwrap().unwrap(), lower);
        assert_eq!(workers.catch_up(priority).await.unwrap(), lower);
        assert_eq!(workers.read(priority).await.unwrap(), own);
    }
}
