//! Stores the commit and the build time in the binary.

use std::{env, path::Path, process::Command};

fn main() {
    // An image is built without .git, so the commit is passed in a variable, which is empty if the build argument is
    // missing.
    let given = env::var("TICKWELL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=TICKWELL_COMMIT={}", commit.unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=TICKWELL_BUILD_SECONDS={}", build_seconds());
    println!("cargo::rerun-if-env-changed=TICKWELL_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // `git commit` changes the log of HEAD. Missing paths are left out, because they would cause a rebuild every time.
    for path in ["../.git/logs/HEAD", "../.git/HEAD", "build.rs"] {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a build has no injected clock; SOURCE_DATE_EPOCH overrides it"
)]
fn build_seconds() -> String {
    env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_1970.map(|elapsed| elapsed.as_secs()).unwrap_or_default().to_string()
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
