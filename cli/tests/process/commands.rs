//! Commands that exit when they are done, and their errors about invalid settings.

use std::path::Path;

use testkit::process::Tickwell;

use crate::harness::{BINARY, DEADLINE};

/// Runs the binary until it exits. Returns its exit code and everything it printed.
pub(crate) async fn run(
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let command = Tickwell::command(BINARY, folder).args(arguments).env("RUST_BACKTRACE", "0");
    let mut process = command.envs(environment.iter().copied()).start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    (status.code(), process.lines().join("\n"))
}

#[tokio::test]
async fn version_and_help_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (code, version) = run(folder.path(), &["--version"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(version.starts_with(&format!("tickwell {}", env!("CARGO_PKG_VERSION"))), "{version}");
    let (code, help) = run(folder.path(), &["--help"], &[]).await;
    assert_eq!(code, Some(0));
    for command in ["run", "poller", "api", "recompute", "config"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{help}");
    }
    let left: Vec<_> = folder.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "no files are created: {left:?}");
}

#[tokio::test]
async fn the_example_and_the_shown_settings_are_valid_settings_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tickwell.toml");
    let (code, example) = run(folder.path(), &["config", "example"], &[]).await;
    assert_eq!(code, Some(0));
    std::fs::write(&file, &example).unwrap();
    assert_eq!(run(folder.path(), &["config", "check"], &[]).await.0, Some(0));

    let override_interval =
        [("TICKWELL__FEED__INTERVAL", "7s"), ("TICKWELL__BUS__URL", "nats://me:secret@host:4222")];
    let (code, shown) = run(folder.path(), &["config", "show"], &override_interval).await;
    assert_eq!(code, Some(0));
    assert!(shown.contains("interval = \"7s\"") && !shown.contains("secret"), "{shown}");
    let (_, flagged) =
        run(folder.path(), &["config", "show", "--set", "feed.interval=9s"], &override_interval).await;
    assert!(flagged.contains("interval = \"9s\""), "a flag overrides the environment:\n{flagged}");

    // If the output of `config show` is used as the settings file, the settings stay the same.
    let (_, shown) = run(folder.path(), &["config", "show"], &[]).await;
    std::fs::write(&file, &shown).unwrap();
    assert_eq!(run(folder.path(), &["config", "check"], &[]).await.0, Some(0));
    assert_eq!(run(folder.path(), &["config", "show"], &[]).await, (Some(0), shown));
}

#[tokio::test]
async fn a_container_listens_on_all_addresses_and_keeps_its_store_in_the_volume() {
    let folder = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../container/tickwell.toml");
    let (code, shown) = run(folder.path(), &["config", "show"], &[("TICKWELL_CONFIG", file)]).await;
    assert_eq!(code, Some(0), "{shown}");
    for setting in ["listen = \"0.0.0.0:8080\"", "listen = \"0.0.0.0:9090\"", "path = \"/data\""] {
        assert!(shown.contains(setting), "{setting} in: {shown}");
    }
}

#[tokio::test]
async fn an_invalid_setting_is_reported_with_the_layer_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["run"].as_slice(), &["poller"], &["api"], &["config", "check"], &[]] {
        let unknown = [("TICKWELL__FEED__INTERVALL", "1s")];
        let (code, said) = run(folder.path(), arguments, &unknown).await;
        assert!(code.is_some_and(|code| code != 0), "{arguments:?}: {said}");
        assert!(said.contains("TICKWELL__FEED__INTERVALL") && said.contains("feed.intervall"), "{said}");
        assert!(
            said.contains("feed.interval`") || said.contains("feed.interval?"),
            "no suggestion in: {said}"
        );
    }
    let file = folder.path().join("tickwell.toml");
    for (setting, name) in [
        ("[feed]\nintervall = \"1s\"", "feed.intervall"),
        ("[feed]\ninterval = \"soon\"", "feed.interval"),
        ("[feed]\npairs = []", "feed.pairs"),
        ("[aggregate]\nmin_sources = 9", "aggregate.min_sources"),
        ("[windows]\nstale_after = \"1s\"", "windows.stale_after"),
        ("[api]\nrate_limit = \"fast\"", "api.rate_limit"),
        ("[log]\nformat = \"xml\"", "log.format"),
    ] {
        std::fs::write(&file, setting).unwrap();
        let (code, said) = run(folder.path(), &["config", "check"], &[]).await;
        assert!(code.is_some_and(|code| code != 0), "{setting} was accepted");
        assert!(said.contains(name), "{name} in: {said}");
    }
    std::fs::remove_file(&file).unwrap();
    for arguments in [["poller"], ["api"]] {
        let (code, said) = run(folder.path(), &arguments, &[]).await;
        assert!(code != Some(0) && said.contains("bus.url"), "{said}");
    }
}
