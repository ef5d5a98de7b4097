//! Explains that a server has too little storage for a stream: how many bytes the stream needs, and where to allow
//! them.

use std::time::Duration;

use async_nats::jetstream::{self, ErrorCode};
use tokio::time::Instant;

use super::BY_HAND;
use crate::retry::retry;

/// How long a cluster may take until the space of a deleted stream is free. Each server tells the others every ten
/// seconds how much is reserved on it.
const FREED_WITHIN: Duration = Duration::from_secs(30);

/// Repeats an attempt to create a stream while it fails because there is no room, if the space of a stream that was
/// deleted just before may become free: in a cluster, for a while.
pub(super) async fn retry_until_freed<T, E, F: Future<Output = Result<T, E>>>(
    replicas: usize,
    attempt: impl Fn() -> F,
    lacks_room: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + FREED_WITHIN;
    let may_be_freed = || replicas > 1 && Instant::now() < deadline;
    retry(attempt, |error| if lacks_room(&error) && may_be_freed() { Ok(()) } else { Err(error) }).await
}

/// What to do if the server refused a stream because its storage limit is too small. `None` if the server refused the
/// stream for another reason. `max_bytes` is the stream's size limit, which the server reserves as soon as the stream
/// is created.
pub(super) fn too_small(reason: &jetstream::Error, max_bytes: i64) -> Option<String> {
    is_too_small(reason).then(|| {
        format!(
            "JetStream on the NATS server is too small ({reason}): the stream needs max_bytes = {max_bytes}{}, which the \
             server reserves at once, in addition to what other streams reserve. Raise max_file_store in the jetstream \
             block of every server's configuration (in nats/nats.conf it is 34GiB), and max_file of the account, if the \
             account has this limit. The volume must be larger than that. Restart the servers one at a time, and run \
             `{BY_HAND}` again",
            in_gib(max_bytes)
        )
    })
}

/// A cluster has no error code for servers without enough space, only a text.
fn is_too_small(reason: &jetstream::Error) -> bool {
    match reason.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES => true,
        ErrorCode::CLUSTER_NO_PEERS => reason.to_string().contains("insufficient storage"),
        _ => false,
    }
}

/// Whole GiB in parentheses, if the size is at least that large.
fn in_gib(bytes: i64) -> String {
    match bytes.max(0).cast_unsigned().div_ceil(1 << 30) {
        0 | 1 => String::new(),
        gib => format!(" ({gib} GiB)"),
    }
}
