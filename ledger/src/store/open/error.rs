//! Why a store does not open.

use std::io;

use crate::store::StoreError;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("store.path: cannot use {path}")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("store.path: another process uses {path}: stop it, or set another store.path")]
    InUse {
        /// Which.
        path: String,
    },
    /// The only copy of an in-process log stands where a copy of a NATS log would be put, or the reverse.
    #[error(
        "store.path: {path} holds {held}, not {wanted}: set another store.path, or move that folder away"
    )]
    OtherKind {
        /// Which.
        path: String,
        /// What is there.
        held: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// There is none, where one was to be read.
    #[error("store.path: there is no store in {path}")]
    NotThere {
        /// Where it was looked for.
        path: String,
    },
    /// It was to be read as it is, and cannot be.
    #[error("store.path: {path} cannot be read")]
    Unreadable {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// The only copy of an in-process log cannot be read.
    #[error(
        "store.path: {path} cannot be read, and it is the only copy of its history: restore it from a backup, \
         or move the folder away to start anew"
    )]
    OnlyCopy {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// It cannot be written.
    #[error("store.path: cannot write to {path}")]
    Write {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}
