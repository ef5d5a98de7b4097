//! `tickwell log`: what whoever runs the NATS server does for the log.
//!
//! - [`keys`]: a key for each role.
//! - [`repair`]: the servers' copies, made the same again.
//! - [`backup`] and [`restore`]: the stream in a folder, and back. [`folder`] is the folder.
//! - [`setup`]: the stream and the lease's bucket, made and checked.

mod backup;
mod folder;
mod keys;
mod repair;
mod restore;
mod setup;

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::settings::{self, SettingsLayers};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Make a key for each role (poller, api, feed, admin, maintenance), and the list of public keys for the server
    ///
    /// Writes DIR/ROLE.nk, the seed for that role's bus.credentials_file, and DIR/keys.conf, which the server's
    /// configuration includes (nats/nats.conf). Nothing that is there is overwritten.
    Keys {
        /// The folder, made if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Make the stream and the lease's bucket on NATS, or set them right where no record is lost by it
    ///
    /// Give it the settings of the pollers (bus.url, bus.lease, bus.replicas) and the admin's key
    /// (bus.credentials_file). What it may not change is named, and the exit code is 1.
    Apply {
        /// How many bytes the log may take, where that is more than the 16 GiB of its definition. Once given, it
        /// stays; "How large the log gets" in docs/operations.md says how much is needed
        #[arg(long, value_name = "BYTES")]
        max_bytes: Option<i64>,
    },
    /// Fill every server's copy of the log again from the leader's copy
    ///
    /// For a cluster whose servers contradict each other, as after two of three volumes were rolled back. What only
    /// another server still has is given up: docs/operations.md says when to do this, and what to try first. Give it the
    /// admin's key (bus.credentials_file). While it works, the log is on one server.
    Repair {
        /// Do it; without this the command only says what it would do
        #[arg(long)]
        yes: bool,
    },
    /// Compare the stream and the lease's bucket with what they should be, and name each difference
    ///
    /// It changes nothing. The exit code is 0 where there is no difference.
    Verify,
    /// Copy the log out of NATS into a folder, while everything runs
    ///
    /// The folder gets its name once the copy is complete and on the disk. Needs the maintenance key
    /// (bus.credentials_file).
    Backup {
        /// The folder to create. With --keep: the folder for several backups, each named after the time
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,

        /// Create the backup inside of FOLDER, then remove all but the newest N there
        #[arg(long, value_name = "N")]
        keep: Option<NonZeroUsize>,
    },
    /// Copy a backup of the log back into NATS, where there is no log
    ///
    /// Pollers and pods may run: they wait until the log is complete. An interrupted restore can be repeated. Needs the
    /// maintenance key (bus.credentials_file).
    Restore {
        /// The backup
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,

        /// Keep the log on N servers of the cluster, and not on as many as when the backup was made
        #[arg(long, value_name = "N")]
        replicas: Option<NonZeroUsize>,

        /// Delete the log that is there, with all of its records
        #[arg(long)]
        replace: bool,
    },
}

/// Does it.
pub(crate) fn run(command: &LogCommand, layers: SettingsLayers) -> Result<()> {
    match command {
        LogCommand::Keys { folder } => keys::make(folder),
        LogCommand::Apply { max_bytes } => setup::apply(&settings::load_log(layers, false)?, *max_bytes),
        LogCommand::Repair { yes } => repair::repair(&settings::load_log(layers, false)?, *yes),
        LogCommand::Verify => setup::verify(&settings::load_log(layers, false)?),
        LogCommand::Backup { folder, keep } => {
            let settings = settings::load_log(layers, false)?;
            block_on(backup::run(&settings, folder, *keep))
        }
        LogCommand::Restore { folder, replicas, replace } => {
            let settings = settings::load_log(layers, false)?;
            block_on(restore::run(&settings, folder, *replicas, *replace))
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}
