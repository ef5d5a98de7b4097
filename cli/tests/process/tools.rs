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

/// That Python, where kubectl is beside it, which renders manifests.
pub(crate) fn python_beside_kubectl() -> Option<PathBuf> {
    let python = python()?;
    there(python.with_file_name("kubectl")).map(|_kubectl| python)
}

/// A script that drives a browser, by its name, and the Node.js to run it with.
pub(crate) fn browser_script(name: &str) -> Option<tokio::process::Command> {
    installed(BROWSER_DRIVER)?;
    let mut command = tokio::process::Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name)).kill_on_drop(true);
    Some(command)
}

fn installed(path: &str) -> Option<PathBuf> {
    there(workspace().join(path))
}

fn there(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "no {}, and CI does not skip tests", path.display());
    println!("skipped: {} not found, run scripts/test", path.display());
    None
}
