//! External programs that tests use, installed by `scripts/tools`. If one is missing, a test prints a line and is skipped;
//! in CI it fails instead.

use std::path::{Path, PathBuf};

/// The environment variable with the Python to use. Overrides the one that `scripts/tools` installs.
pub(crate) const PYTHON_VARIABLE: &str = "TICKWELL_PYTHON";

const PYTHON: &str = ".tools/venv/bin/python";
const NODE_PACKAGES: &str = ".tools/node/node_modules";
const OPENAPI_PACKAGES: &str = ".tools/openapi/node_modules";
const PROMTOOL: &str = ".tools/prometheus/usr/bin/promtool";
const NGINX: &str = ".tools/nginx/usr/sbin/nginx";
const CADDY: &str = ".tools/caddy/usr/bin/caddy";
const BROWSER_DRIVER: &str = ".tools/node/node_modules/playwright-core";

/// The root of the repository.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The path of the Python interpreter; `None` if it is not installed.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from).or_else(|| installed(PYTHON))
}

/// Like [`python`], but also `None` if kubectl is not installed next to the interpreter.
pub(crate) fn python_beside_kubectl() -> Option<PathBuf> {
    let python = python()?;
    there(python.with_file_name("kubectl")).map(|_kubectl| python)
}

/// Like [`python`], but also `None` if a module is not installed.
pub(crate) fn python_with(modules: &[&str]) -> Option<PathBuf> {
    let python = python()?;
    let import = format!("import {}", modules.join(", "));
    let imported = std::process::Command::new(&python).arg("-c").arg(&import).output().unwrap();
    if imported.status.success() {
        return Some(python);
    }
    missing(&format!("{} in {}", modules.join(" or "), python.display()));
    None
}

/// The directory of the Node.js packages; `None` if this package is not installed.
pub(crate) fn node_packages(package: &str) -> Option<PathBuf> {
    let packages = workspace().join(NODE_PACKAGES);
    there(packages.join(package)).map(|_package| packages)
}

/// The directory of the Node.js packages that make and check clients; `None` if they are not installed.
pub(crate) fn openapi_packages() -> Option<PathBuf> {
    installed(OPENAPI_PACKAGES)
}

/// The path of promtool; `None` if it is not installed.
pub(crate) fn promtool() -> Option<PathBuf> {
    installed(PROMTOOL)
}

/// The path of nginx; `None` if it is not installed.
pub(crate) fn nginx() -> Option<PathBuf> {
    installed(NGINX)
}

/// The path of Caddy; `None` if it is not installed.
pub(crate) fn caddy() -> Option<PathBuf> {
    installed(CADDY)
}

/// The blocks of code in this language on a page of the documentation.
pub(crate) fn code_blocks(page: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let begin = format!("\n```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1);
    blocks.map(|block| block.split("\n```\n").next().unwrap().to_owned()).collect()
}

/// A command that runs a script from `tests/browser` with Node.js.
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
    missing(&path.display().to_string());
    None
}

fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing, and CI must not skip tests");
    println!("skipped: {what} not found; run scripts/test to install it");
}
