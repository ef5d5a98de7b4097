//! Reads from the store on threads that may block on the disk.
//!
//! The task that follows the log uses the same pool of threads, so the number of readers is limited. A request waits a
//! short time for a free place and is then refused.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::problem::{Code, Problem};

/// The maximum number of concurrent reads of pages and single records. More reads in parallel would not be faster.
const MAX_PAGES: usize = 16;

/// The maximum number of concurrent scans over every tick of a long window. Each takes some milliseconds and a few
/// megabytes.
const MAX_SCANS: usize = 2;

/// How long a request waits for a place. After that the request is refused, so that the client can use another pod.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Limits how many requests read from the store at once.
#[derive(Debug, Clone)]
pub struct Readers {
    pages: Arc<Semaphore>,
    scans: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { pages: Arc::new(Semaphore::new(MAX_PAGES)), scans: Arc::new(Semaphore::new(MAX_SCANS)) }
    }
}

impl Readers {
    /// Reads a page or a single record.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        run(self.pages.clone(), read).await
    }

    /// Scans many ticks.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        run(self.scans.clone(), read).await
    }
}

async fn run<T: Send + 'static>(
    places: Arc<Semaphore>,
    read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let Ok(Ok(place)) = timeout(MAX_WAIT, places.acquire_owned()).await else {
        let detail = "too many requests are reading history; retry in a moment";
        return Err(Problem::new(Code::Busy, detail).retry_after(1));
    };
    let reading = tokio::task::spawn_blocking(move || {
        // Keep the place until the work is done, even if the client has gone.
        let _place = place;
        read()
    });
    reading.await.map_err(Problem::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_place_is_refused_and_other_kinds_of_reads_continue() {
        let readers = Readers::default();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let mut scanning = Vec::new();
        for _scan in 0..MAX_SCANS {
            let (readers, held) = (readers.clone(), held.clone());
            scanning.push(tokio::spawn(async move {
                readers.scan(move || Ok(held.lock().unwrap().recv().is_ok())).await
            }));
        }
        while readers.scans.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let readers = readers.clone();
            async move { readers.scan(|| Ok(())).await }
        });
        tokio::task::yield_now().await;
        // The paused clock does not advance on its own while threads are working.
        tokio::time::advance(MAX_WAIT + MAX_WAIT).await;
        let refused = waiting.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Busy, "{refused}");
        assert!(readers.read(|| Ok(())).await.is_ok(), "pages have their own places");
        drop(release);
        for scan in scanning {
            scan.await.unwrap().unwrap();
        }
        assert!(readers.scan(|| Ok(())).await.is_ok());
    }
}
