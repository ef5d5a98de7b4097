//! The store of a process that is not running.

use anyhow::{Result, bail};
use api::config::ListenAddress;
use ledger::store::{OpenError, Store};

use crate::settings::Settings;

/// The store of `tickwell run`, or a pod's copy; nothing where there is none. One that is in use cannot be
/// read: the error names `flag`, which reads through the process that listens at `address`.
pub(crate) fn open(settings: &Settings, flag: &str, address: &ListenAddress) -> Result<Option<Store>> {
    match Store::open_records(&settings.store.path) {
        Ok(store) => Ok(Some(store)),
        Err(OpenError::NotThere { .. }) => Ok(None),
        Err(OpenError::InUse { .. }) => {
            // Whoever uses it may have other settings than these; a port of its own choice nobody knows.
            let address = address.get().filter(|address| !address.ends_with(":0")).unwrap_or("HOST:PORT");
            bail!(
                "the store {} is in use by another process; stop it, or read through it with {flag} http://{address}",
                settings.store.path.display()
            )
        }
        Err(error) => Err(error.into()),
    }
}
