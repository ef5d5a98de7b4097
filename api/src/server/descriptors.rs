//! How many connections the process may have.

use rlimit::Resource;

/// Open connections at once: 10,000 streams, and requests.
const MAX_CONNECTIONS: usize = 12_000;

/// Descriptors that are left for everything else: the store's files, the log, a backup, operators.
const RESERVED: u64 = 320;

/// Operators' connections at once, where they have a listener of their own.
pub const ADMIN_PLACES: usize = 64;

/// The fewest connections that make sense, whatever the limit.
const MIN_CONNECTIONS: usize = 64;

/// Lets the process have as many descriptors as it may, and answers how many connections that makes. The limit that a
/// shell sets is for programs that cannot count above 1,024.
pub fn api_places() -> usize {
    let raised = Resource::NOFILE.get().and_then(|(_, hard)| Resource::NOFILE.set(hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    let limit = Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    let places = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    if places < MAX_CONNECTIONS {
        tracing::warn!(limit, "few open files are allowed, and so few connections; raise `ulimit -n`");
    }
    places.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}
