//! Programs of others that tests use, as `scripts/tools` installs them. Without one, a test is skipped with a line;
//! in CI it fails, so that nobody skips it there.

use std::path::{Path, PathBuf};

/// Names the Python that has the packages of `scripts/tools`, over the one that is installed there.
pub(crate) const PYTHON_VARIABLE: &str = "TICKWELL_PYTHON";

const PYTHON: &str = ".tools/venv/bin/python";
const BROWSER_DRIVER: &str = ".tools/node/node_modules/playwright-core";

/// The root of the repository.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The Python to use.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from).or_else(|| installed(PYTHON))
}

/// A script that drives a browser, by its name, and the Node.js to run it with.
pub(crate) fn browser_script(name: &str) -> Option<tokio::process::Command> {
    installed(BROWSER_DRIVER)?;
    let mut command = tokio::process::Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name)).kill_on_drop(true);
    Some(command)
}

fn installed(path: &str) -> Option<PathBuf> {
    let installed = workspace().join(path);
    if installed.exists() {
        return Some(installed);
    }
    assert!(std::env::var_os("CI").is_none(), "no {path}, and CI does not skip tests");
    println!("skipped: {path} not found, run scripts/test");
    None
}
