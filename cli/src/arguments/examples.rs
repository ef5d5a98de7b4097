//! An example of each command, shown in its help and in `docs/cli.md`.

use clap::Command;

/// Each command's path below `tickwell`, and an example.
const EXAMPLES: [(&[&str], &str); 23] = [
    (&[], "tickwell run --demo"),
    (&["run"], "tickwell run --set feed.pairs=BTC-USD,ETH-USD,SOL-USD"),
    (&["poller"], "tickwell poller --set bus.url=nats://127.0.0.1:4222"),
    (&["api"], "tickwell api --set bus.url=nats://127.0.0.1:4222 --set api.listen=0.0.0.0:8080"),
    (&["watch"], "tickwell watch BTC-USD ETH-USD --url http://127.0.0.1:8080"),
    (&["price"], "tickwell price BTC-USD --at 2026-05-01T12:00:00Z --at 2026-05-02"),
    (&["sources"], "tickwell sources --set feed.sources=kraken,coinbase,gemini"),
    (&["recompute"], "tickwell recompute --all --url http://127.0.0.1:8080"),
    (&["export"], "tickwell export --pair BTC-USD --from 2026-05-01T00:00:00Z --output may.csv"),
    (
        &["import"],
        "tickwell import --pair BTC-USD kraken:./kraken.csv.gz coinbase:./coinbase.csv.gz --dry-run",
    ),
    (&["backup"], "tickwell backup --from http://127.0.0.1:9090 --output pod.backup"),
    (&["restore"], "tickwell restore pod.backup --path ./data"),
    (&["verify-pods"], "tickwell verify-pods http://127.0.0.1:8080 http://127.0.0.1:8081"),
    (&["healthcheck"], "tickwell healthcheck --ready --url http://127.0.0.1:8080"),
    (&["log", "keys"], "tickwell log keys ./keys"),
    (
        &["log", "apply"],
        "tickwell log apply --set bus.url=nats://127.0.0.1:4222 --set bus.credentials_file=keys/admin.nk",
    ),
    (
        &["log", "verify"],
        "tickwell log verify --set bus.url=nats://127.0.0.1:4222 --set bus.credentials_file=keys/admin.nk",
    ),
    (
        &["log", "repair"],
        "tickwell log repair --set bus.url=nats://127.0.0.1:4222 --set bus.credentials_file=keys/admin.nk",
    ),
    (
        &["log", "backup"],
        "tickwell log backup ./log-2026-11-28 --set bus.url=nats://127.0.0.1:4222 --set bus.credentials_file=keys/maintenance.nk",
    ),
    (
        &["log", "restore"],
        "tickwell log restore ./log-2026-11-28 --set bus.url=nats://127.0.0.1:4222 --set bus.credentials_file=keys/maintenance.nk",
    ),
    (&["config", "show"], "tickwell config show"),
    (&["config", "check"], "tickwell config check --config /etc/tickwell/tickwell.toml"),
    (&["config", "example"], "tickwell config example > tickwell.toml"),
];

/// Adds an example to the help of each command.
pub(super) fn add_to(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (path, example)| add(command, path, example))
}

fn add(command: Command, path: &[&str], example: &'static str) -> Command {
    match path.split_first() {
        None => command.after_help(format!("Example: {example}")),
        // clap panics if there is no command with this name. A test builds all commands, so it would fail.
        Some((name, rest)) => command.mut_subcommand(*name, |child| add(child, rest, example)),
    }
}
