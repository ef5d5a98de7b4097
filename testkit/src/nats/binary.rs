//! Where the nats-server program is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::workspace_root;

/// Names the program, over every other place.
const BINARY_VARIABLE: &str = "TICKWELL_NATS_SERVER";

/// Where `scripts/test` installs it, under the workspace root.
const INSTALLED: &str = ".tools/venv/bin/nats-server";

/// Whether there is a nats-server to start.
#[must_use]
pub fn nats_available() -> bool {
    find().is_some()
}

/// [`nats_available`], and a line that says so if not. It serves [`require_nats!`](crate::require_nats).
///
/// # Panics
///
/// Panics if it is not installed and the variable `CI` is set. In CI, no test may be skipped.
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
        // Not checked: if it is wrong, the start says so, and nothing else is run in its place.
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
    fn looks_at_the_variable_then_the_workspace_then_the_path() {
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
