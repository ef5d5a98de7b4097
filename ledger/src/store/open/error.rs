use std::io;

use crate::store::StoreError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("store.path: cannot use {path}")]
    Folder {
        /// The directory, or a file in it.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("store.path: another process is using {path}; stop that process, or set another store.path")]
    InUse {
        /// The store.
        path: String,
    },
    /// The directory holds the only copy of an in-process log where a copy of a NATS log is expected, or the reverse.
    #[error(
        "store.path: {path} holds {held}, but {wanted} is needed; set another store.path, or move {path} away"
    )]
    OtherKind {
        /// The store.
        path: String,
        /// What the directory holds.
        held: &'static str,
        /// What was expected.
        wanted: &'static str,
    },
    /// Another version of Tickwell wrote the store, in a format that this version does not read.
    #[error(
        "store.path: {path} has store format {found}, from another version of Tickwell; this version reads and \
         writes format {written} only. {}",
        remedy(*.is_only_copy)
    )]
    OtherFormat {
        /// The store.
        path: String,
        /// The format that the store has.
        found: String,
        /// The format that this version reads and writes.
        written: &'static str,
        /// Whether it is the store of an in-process log, which cannot be rebuilt.
        is_only_copy: bool,
    },
    /// There is no store to read.
    #[error("store.path: there is no store in {path}")]
    NotThere {
        /// Where it was expected.
        path: String,
    },
    /// An existing store cannot be read.
    #[error("store.path: cannot read {path}")]
    Unreadable {
        /// The store.
        path: String,
        /// What is wrong with it.
        #[source]
        source: StoreError,
    },
    /// The only copy of an in-process log cannot be read.
    #[error(
        "store.path: cannot read {path}, which is the only copy of an in-process log; restore the store from a \
         backup, or move the directory away to start with an empty store"
    )]
    OnlyCopy {
        /// The store.
        path: String,
        /// What is wrong with it.
        #[source]
        source: StoreError,
    },
    /// The store cannot be written.
    #[error("store.path: cannot write to {path}")]
    Write {
        /// The store.
        path: String,
        /// Why the write failed.
        #[source]
        source: StoreError,
    },
}

/// What to do about a store of another format.
fn remedy(is_only_copy: bool) -> &'static str {
    match is_only_copy {
        true => {
            "The store is the only copy of this log's history: export it with the version of Tickwell that wrote \
             it, or set another store.path"
        }
        false => {
            "The store is a copy of a NATS log: start a pod with this store.path, which rebuilds the store from the \
             log, or use the version of Tickwell that wrote it"
        }
    }
}
