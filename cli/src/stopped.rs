//! The store of a process that is not running.

use anyhow::{Result, bail};
use api::config::ListenAddress;
use ledger::store::{OpenError, Store};

use crate::settings::Settings;

/// Opens the store of a stopped `tickwell run` or pod; `None` if there is none. Fails if the store is in use: the error
/// recommends `flag`, which reads through the process that listens at `address` instead.
pub(crate) fn open(settings: &Settings, flag: &str, address: &ListenAddress) -> Result<Option<Store>> {
    match Store::open_records(&settings.store.path) {
        Ok(store) => Ok(Some(store)),
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
