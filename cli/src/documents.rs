//! The files that are generated from the code: `docs/configuration.md`, `docs/cli.md`, `docs/metrics.md`, and the alerts
//! for Kubernetes.
//!
//! - [`commands`]: every command and flag, from clap's definitions.
//! - [`configuration`]: every setting, from the settings types and the example file.
//! - [`metrics`]: every metric, from the definitions.
//! - [`monitoring`]: the alerts and the dashboard, which use these metrics. [`promql`] finds the metrics in an expression.
//!
//! These modules are only compiled for tests. A test compares the generated text with the file in the repository. If
//! `TICKWELL_RENEW_DOCUMENTS` is set (`just documents`), the test writes the file before it compares.

mod commands;
mod configuration;
mod metrics;
mod monitoring;
mod promql;

use std::{env, fs, path::Path};

use crate::settings::known;

/// If this variable is set, the documents are written before they are compared.
const RENEW: &str = "TICKWELL_RENEW_DOCUMENTS";

fn assert_is_committed(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    if env::var_os(RENEW).is_some() {
        fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{name} differs from the code; renew it with: just documents");
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
    assert_is_committed("docs/configuration.md", &configuration::markdown());
}

#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "other systems have no /proc, so some metrics are missing there"
)]
fn the_metrics_reference_is_the_committed_one() {
    assert_is_committed("docs/metrics.md", &metrics::markdown());
}

#[test]
fn the_command_reference_is_the_committed_one() {
    assert_is_committed("docs/cli.md", &commands::markdown());
}
