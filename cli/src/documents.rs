//! The reference documents that are generated from the code: `docs/configuration.md` and `docs/cli.md`.
//!
//! - [`commands`]: every command and flag, from clap's definitions.
//! - [`configuration`]: every setting, from the settings types and the example file.
//!
//! These modules are only compiled for tests. A test compares the generated text with the file in the repository. If
//! `TICKWELL_RENEW_DOCUMENTS` is set (`just documents`), the test writes the file before it compares.

mod commands;
mod configuration;

use std::{env, fs, path::Path};

use crate::settings::known;

/// If this variable is set, the documents are written before they are compared.
const RENEW: &str = "TICKWELL_RENEW_DOCUMENTS";

fn assert_is_committed(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if env::var_os(RENEW).is_some() {
        fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/{name} differs from the code; renew it with: just documents");
}

/// Marks the names of settings, flags, variables and addresses in a text as code.
fn code(text: &str) -> String {
    let known = known::all();
    let is_code = |name: &str| {
        known.contains(name)
            || ["--", "http://", "TICKWELL_", "/v1"].iter().any(|start| name.starts_with(start))
            || (name.starts_with('[') && name.ends_with(']'))
    };
    let mark = |word: &str| {
        let name = word.trim_matches(|sign: char| ".,;:()".contains(sign));
        if is_code(name) { word.replacen(name, &format!("`{name}`"), 1) } else { word.to_owned() }
    };
    // Every second part is already in backticks.
    let parts = text.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => part.split(' ').map(mark).collect::<Vec<_>>().join(" "),
        _ => format!("`{part}`"),
    });
    parts.collect()
}

#[test]
fn the_configuration_reference_is_the_committed_one() {
    assert_is_committed("configuration.md", &configuration::markdown());
}

#[test]
fn the_command_reference_is_the_committed_one() {
    assert_is_committed("cli.md", &commands::markdown());
}
