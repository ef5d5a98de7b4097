//! Work whose time grows with the size of a response, away from the threads that serve all connections.

/// From this size on, work on a body is done on a thread for blocking work. The work takes about a millisecond for a
/// body of this size, and the other requests would have to wait for longer work.
const LONG_BYTES: usize = 128 * 1024;

/// Does work on a body of this many bytes. Returns `None` if the work panicked.
pub(super) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes < LONG_BYTES { Some(work()) } else { tokio::task::spawn_blocking(work).await.ok() }
}
