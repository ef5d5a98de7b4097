//! Computes how many connections the process can have open at once.

use rlimit::Resource;

/// The maximum number of open connections: 10,000 streams, and the rest for requests.
const MAX_CONNECTIONS: usize = 12_000;

/// File descriptors reserved for everything else: the store, the log, a backup, and operators.
const RESERVED: u64 = 320;

/// The maximum number of open connections on the admin listener.
pub const MAX_ADMIN_CONNECTIONS: usize = 64;

/// The minimum number of connections, however low the limit on open files is.
const MIN_CONNECTIONS: usize = 64;

/// Raises the process's limit on open files as far as the system allows, and returns how many connections that permits.
/// The limit must be raised because shells set a low one for old programs that use `select`.
pub fn max_api_connections() -> usize {
    let raised = Resource::NOFILE.get().and_then(|(_, hard)| Resource::NOFILE.set(hard, hard));
    if let Err(error) = raised {
        tracing::debug!(event = "open_files_limit_not_raised", %error, "cannot raise the limit on open files");
    }
    let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    let places = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    if places < MAX_CONNECTIONS {
        tracing::warn!(
            event = "open_files_limit_low",
            limit,
            connections = places.max(MIN_CONNECTIONS),
            "the limit on open files allows fewer connections than this pod can serve; raise `ulimit -n`"
        );
    }
    places.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}
