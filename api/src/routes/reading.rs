//! Reading from the store, on threads that may wait for the disk.
//!
//! Such threads are shared with the task that follows the log, so there are never many of them here: who comes
//! when all places are taken waits for one, and not for long.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::problem::{Code, Problem};

/// Pages and single records that are read at once: more than a disk can use.
const PAGES: usize = 16;

/// Looks at every tick of a long window at once. Each takes some milliseconds and a few megabytes.
const SCANS: usize = 2;

/// How long a request waits for a place. A client that is told to come back is better off than one that waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// The places for those who read from the store.
#[derive(Debug, Clone)]
pub struct Readers {
    pages: Arc<Semaphore>,
    scans: Arc<Semaphore>,
}

impl Default for Readers {
    fn default() -> Self {
        Self { pages: Arc::new(Semaphore::new(PAGES)), scans: Arc::new(Semaphore::new(SCANS)) }
    }
}

impl Readers {
    /// Reads a page or a record.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        run(self.pages.clone(), read).await
    }

    /// Looks at many ticks.
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
    let Ok(Ok(place)) = timeout(PATIENCE, places.acquire_owned()).await else {
        let detail = "too many others are reading history; ask again in a moment";
        return Err(Problem::new(Code::Busy, detail).retry_after(1));
    };
    let reading = tokio::task::spawn_blocking(move || {
        // Held until the work is done, whether or not somebody still waits for it.
        let _place = place;
        read()
    });
    reading.await.map_err(Problem::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_is_told_to_come_back_and_keeps_nobody_else_waiting() {
        let readers = Readers::default();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let mut scanning = Vec::new();
        for _scan in 0..SCANS {
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
        // By hand: time does not pass by itself while threads are at work.
        tokio::time::advance(PATIENCE + PATIENCE).await;
        let refused = waiting.await.unwrap().unwrap_err();
        assert!(refused.to_string().starts_with("busy"), "{refused}");
        assert!(readers.read(|| Ok(())).await.is_ok(), "pages have places of their own");
        drop(release);
        for scan in scanning {
            scan.await.unwrap().unwrap();
        }
        assert!(readers.scan(|| Ok(())).await.is_ok());
    }
}
