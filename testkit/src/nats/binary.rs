//! Finds the nats-server program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::workspace_root;

/// The environment variable with the path of the program. Overrides every other place.
const BINARY_VARIABLE: &str = "TICKWELL_NATS_SERVER";

/// Where `scripts/test` installs the program, under the workspace root.
const INSTALLED: &str = ".tools/venv/bin/nats-server";

/// Whether nats-server is installed.
#[must_use]
pub fn nats_available() -> bool {
    find().is_some()
}

/// Like [`nats_available`], but prints a message if nats-server is not installed. Used by
/// [`require_nats!`](crate::require_nats).
///
/// # Panics
///
/// Panics if nats-server is not installed and the variable `CI` is set. In CI, no test may be skipped.
#[must_use]
pub fn available_or_skip() -> bool {
    let available = nats_available();
    if !available {
        assert!(std::env::var_os("CI").is_none(), "nats-server not found, and CI does not skip tests");
        println!("skipped: nats-server not found, run scripts/test");
    }
    available
}

pub(super) fn find() -> Option<PathBuf> {
    find_in(std::env::var_os(BINARY_VARIABLE), &workspace_root(), std::env::var_os("PATH"))
}

fn find_in(named: Option<OsString>, workspace: &Path, search_path: Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = named {
        // The path is not checked. If it is wrong, starting the server fails, and no other program is used instead.
        return Some(PathBuf::from(named));
    }
    let installed = workspace.join(INSTALLED);
    let searched =
        search_path.iter().flat_map(std::env::split_paths).map(|folder| folder.join("nats-server"));
    std::iter::once(installed).chain(searched).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_used_first_then_the_workspace_then_the_path() {
        let workspace = tempfile::tempdir().unwrap();
        let on_path = tempfile::tempdir().unwrap();
        let search_path = || Some(std::env::join_paths(["/nowhere".as_ref(), on_path.path()]).unwrap());
        assert_eq!(find_in(None, workspace.path(), search_path()), None);
        assert_eq!(find_in(None, workspace.path(), None), None);

        let in_path = on_path.path().join("nats-server");
        std::fs::write(&in_path, "").unwrap();
        assert_eq!(find_in(None, workspace.path(), search_path()), Some(in_path));

        let installed = workspace.path().join(INSTALLED);
        std::fs::create_dir_all(installed.parent().unwrap()).unwrap();
        std::fs::write(&installed, "").unwrap();
        assert_eq!(find_in(None, workspace.path(), search_path()), Some(installed));

        let named = find_in(Some("/named".into()), workspace.path(), search_path());
        assert_eq!(named, Some(PathBuf::from("/named")));
    }
}
