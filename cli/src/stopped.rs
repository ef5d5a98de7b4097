//! The store of a process that is not running.

use anyhow::{Context, Result, bail, ensure};
use api::config::ListenAddress;
use clap::Args;
use ledger::{
    local_log,
    store::{OpenError, Store},
};

use crate::{settings::Settings, show};

/// Whether a store that has lost records may be read.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Incomplete {
    /// Continue even if the store is the only copy of a log and has lost records. The lost positions are printed
    #[arg(long)]
    allow_incomplete: bool,
}

impl Incomplete {
    /// Also allows it on another condition.
    pub(crate) fn or_if(self, allowed: bool) -> Self {
        Self { allow_incomplete: self.allow_incomplete || allowed }
    }
}

/// Opens the store of a stopped `tickwell run` or pod; `None` if there is none. Fails if the store is in use: the error
/// recommends `flag`, which reads through the process that listens at `address` instead.
///
/// Also fails if the store is damaged or, unless `incomplete` allows it, if it is the only copy of a log and has lost
/// records. Otherwise, nobody would notice that what is read from the store is not everything.
pub(crate) fn open(
    settings: &Settings,
    flag: &str,
    address: &ListenAddress,
    incomplete: Incomplete,
) -> Result<Option<Store>> {
    match Store::open_records(&settings.store.path) {
        Ok(store) => {
            let path = store.path().display();
            store
                .check()
                .with_context(|| format!("the store in {path} is damaged; restore a backup of it"))?;
            if let Some((from, to)) = local_log::lost(&store)? {
                let what = format!(
                    "the store in {path} has lost the records {from} to {to}, which had been acknowledged"
                );
                ensure!(
                    incomplete.allow_incomplete,
                    "{what}; restore a backup, or use --allow-incomplete to continue without them"
                );
                show::step(&what);
            }
            Ok(Some(store))
        }
        Err(OpenError::NotThere { .. }) => Ok(None),
        Err(OpenError::InUse { .. }) => {
            // The address comes from our own settings, which may differ from those of the process. Port 0 does not say
            // which port the process uses.
            let address = address.get().filter(|address| !address.ends_with(":0")).unwrap_or("HOST:PORT");
            bail!(
                "the store {} is in use by another process; stop that process, or read through it \
                 with {flag} http://{address}",
                settings.store.path.display()
            )
        }
        Err(error) => Err(error.into()),
    }
}
