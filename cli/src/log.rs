//! `tickwell log`: commands for operators of the NATS server.
//!
//! - [`keys`] creates a key for each role.
//! - [`setup`] creates, corrects and checks the stream and the lease bucket.
//! - [`repair`] replaces the copies on all other servers with the leader's copy.
//! - [`backup`] and [`restore`] copy the stream to a directory and back. [`folder`] defines the layout of the
//!   directory.

mod backup;
mod folder;
mod keys;
mod repair;
mod restore;
mod setup;

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use clap::Subcommand;
use common::domain::Timestamp;

use crate::{
    runtime,
    settings::{self, SettingsLayers},
};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Create a key for each NATS role (poller, api, feed, admin, maintenance)
    ///
    /// Writes DIR/ROLE.nk, the seed for that role's bus.credentials_file, and DIR/keys.conf, the public keys that the
    /// server's configuration includes (nats/nats.conf). Existing files are not overwritten.
    Keys {
        /// The directory; it is created if it does not exist
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Create the NATS stream and the lease bucket, or correct their options
    ///
    /// Use the settings of the pollers (bus.url, bus.lease, bus.replicas) and the admin key (bus.credentials_file).
    /// If the server has the account FEED (nats/nats.conf), this also creates the mirror of the log for external
    /// subscribers. Options that cannot be corrected without losing records are listed, and the exit code is 1.
    Apply {
        /// The largest size of the log in bytes, if 16 GiB is not enough. Later calls without this flag do not change
        /// the size. "How large the log gets" in docs/operations.md says how much is needed
        #[arg(long, value_name = "BYTES")]
        max_bytes: Option<i64>,

        /// Delete the mirror and create it again. Use this after the log has lost records (gaps with the cause log_lost)
        #[arg(long)]
        new_mirror: bool,
    },
    /// Replace the copies of the log on all other NATS servers with the leader's copy
    ///
    /// Use this for a cluster whose servers contradict each other, for example after two of three volumes were rolled
    /// back. Records that the leader does not have are lost. "The servers of the log contradict each other" in
    /// docs/operations.md says what to try first. Use the admin key (bus.credentials_file). While the command runs, only
    /// one server has the log.
    Repair {
        /// Make the change; without this flag the command only shows which server's copy would be kept
        #[arg(long)]
        yes: bool,
    },
    /// Check the NATS stream and the lease bucket: their options, and whether each server has a complete copy
    ///
    /// Lists each option that differs from what `tickwell log apply` would set, and each server whose copy is not
    /// complete. Changes nothing. The exit code is 1 if something is listed. Use the admin key (bus.credentials_file).
    Verify,
    /// Copy the log from NATS to a directory while everything runs
    ///
    /// Until the copy is complete and on disk, the name of the directory ends in .part. Use the maintenance key
    /// (bus.credentials_file).
    Backup {
        /// The directory to create. With --keep: the directory for several backups, each named after its time
        /// of creation
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// Create the backup inside DIR, then delete all but the newest N backups there
        #[arg(long, value_name = "N")]
        keep: Option<NonZeroUsize>,
    },
    /// Copy a backup of the log to a NATS server that has no log
    ///
    /// Pollers and pods may keep running; they wait until the log is complete. If the command is interrupted, run it
    /// again. Use the maintenance key (bus.credentials_file).
    Restore {
        /// The directory of the backup
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// The number of servers of the cluster that keep a copy of the log. If not given: as many as when the backup
        /// was made
        #[arg(long, value_name = "N")]
        replicas: Option<NonZeroUsize>,

        /// Delete the existing log with all of its records first
        #[arg(long)]
        replace: bool,

        /// Leave out, of each pair, the records of slots after this time, such as 2026-11-21T03:00:00Z. Use this if the
        /// clock of a poller was ahead and the log has records from the future
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
    },
}

pub(crate) fn run(command: &LogCommand, layers: SettingsLayers) -> Result<()> {
    match command {
        LogCommand::Keys { folder } => keys::make(folder),
        LogCommand::Apply { max_bytes, new_mirror } => {
            setup::apply(&settings::load_log(layers, false)?, *max_bytes, *new_mirror)
        }
        LogCommand::Repair { yes } => repair::repair(&settings::load_log(layers, false)?, *yes),
        LogCommand::Verify => setup::verify(&settings::load_log(layers, false)?),
        LogCommand::Backup { folder, keep } => {
            let settings = settings::load_log(layers, false)?;
            runtime::block_on(backup::run(&settings, folder, *keep))
        }
        LogCommand::Restore { folder, replicas, replace, until } => {
            let settings = settings::load_log(layers, false)?;
            runtime::block_on(restore::run(&settings, folder, *replicas, *replace, *until))
        }
    }
}
