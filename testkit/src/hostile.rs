//! Clients that try to exhaust a pod, and what is measured meanwhile. Everything goes through sockets and `/proc`, so that it
//! says what an operator would see.
//!
//! 1. [`clients`]: the hostile clients.
//! 2. [`innocent`]: polite clients, whose requests must still be served.
//! 3. [`usage`]: the memory and the descriptors of a process.
//! 4. [`cgroup`]: a limit on the memory of a process, as Kubernetes sets it.

pub mod cgroup;
pub mod clients;
pub mod innocent;
pub mod usage;
