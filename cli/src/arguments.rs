//! Commands and flags.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    backup::{self, BackupArguments, RestoreArguments},
    compose,
    export::{self, ExportArguments},
    healthcheck::{self, HealthcheckArguments},
    log::{self, LogCommand},
    mode::Mode,
    recompute::{self, RecomputeArguments},
    settings::{self, SettingsLayers},
    show, sources,
    verify::{self, VerifyArguments},
    watch::{self, WatchArguments},
};

/// A self-hosted crypto price feed: one poller asks public exchanges, agrees on one price per slot, and
/// publishes it; any number of API pods answer from it.
///
/// Without a command, everything runs in this one process and needs nothing else. Settings come from
/// flags, then environment variables (TICKWELL__FEED__INTERVAL=10s), then tickwell.toml, then defaults;
/// `tickwell config example` lists them all.
#[derive(Debug, Parser)]
#[command(name = "tickwell", version = show::VERSION_LINE, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Args)]
struct SettingsArguments {
    /// Read settings from this file, not from ./tickwell.toml
    #[arg(long, global = true, value_name = "FILE", env = "TICKWELL_CONFIG")]
    config: Option<PathBuf>,

    /// Set one setting, such as feed.interval=5s; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = settings::parse_override)]
    overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Poller and API in one process, over a log in the process (or over NATS, with bus.url). The default
    Run {
        /// A simulated market in a folder of its own: works offline, and says that it is simulated
        #[arg(long)]
        demo: bool,
    },
    /// The poller alone: asks the sources, and publishes to NATS (bus.url)
    Poller,
    /// The API alone: follows NATS (bus.url), and answers over HTTP
    Api,
    /// Show live prices, as they come, from a running pod
    ///
    /// On a terminal there is one line a pair, else one line an event. A connection that is lost is made anew and
    /// goes on behind the last event, at another pod if several are named.
    Watch(WatchArguments),
    /// Show what each source is asked for and what it allows, and ask each once
    SettingsLayers {
        /// Ask nobody: only show
        #[arg(long)]
        no_probe: bool,
    },
    /// Work out stored records again from their quotes, and name each that differs
    ///
    /// The records are those of the log on NATS (bus.url), else of the store (store.path), which no other
    /// process may be using; of a running one they can be read through its answers, with --url.
    Recompute(RecomputeArguments),
    /// Write ticks or gaps of a pair as CSV or NDJSON, oldest first, with the digits of the log
    ///
    /// They are read through a running pod (--url), or from the store of a stopped one (store.path).
    Export(ExportArguments),
    /// Copy a pod's store into one file, as of one moment, while it runs (or of a stopped one, from store.path)
    Backup(BackupArguments),
    /// Make a store of a backup, where there is none
    ///
    /// A pod goes on from there with the log on NATS. The store of `tickwell run` is the log itself: what was
    /// recorded after the backup is lost, and the log goes on as another one.
    Restore(RestoreArguments),
    /// Ask pods for the same sequence, compare their answers byte for byte, and say where they differ
    ///
    /// Every route of /v1 is asked for, pinned to the newest sequence that all of them have. Whether a price is
    /// stale depends on the clock too, and is left out. The exit code is 0 where all is the same, 1 where an
    /// answer differs, and 2 where they could not be asked.
    VerifyPods(VerifyArguments),
    /// Ask the process of these settings whether it lives: 0 if it does, 1 with the reason if not
    ///
    /// For container engines. The address is admin.listen if it is set, else api.listen; flags that the process
    /// was given must be given here too.
    Healthcheck(HealthcheckArguments),
    /// Make keys for the log on NATS, make its stream, and check it
    #[command(subcommand)]
    Log(LogCommand),
    /// Show, check or explain the settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings in force, as TOML; secrets are left out
    Show,
    /// Check the settings without starting anything
    Check,
    /// Print a tickwell.toml with every setting, its meaning and its default
    Example,
}

impl Arguments {
    /// Does what was asked for. Most of it succeeds or fails; some has more to say.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let SettingsArguments { config: file, overrides } = self.settings;
        let given = SettingsLayers { file, overrides, environment: environment() };
        let start = |mode, given| compose::run(mode, settings::load(given, mode)?);
        let done = match self.command.unwrap_or(Command::Run { demo: false }) {
            Command::Run { demo: false } => start(Mode::Run, given),
            Command::Run { demo: true } => start(Mode::Demo, given),
            Command::Poller => start(Mode::Poller, given),
            Command::Api => start(Mode::Api, given),
            Command::SettingsLayers { no_probe } => {
                sources::run(&settings::load(given, Mode::Run)?, !no_probe)
            }
            Command::Recompute(arguments) => recompute::run(&arguments, given),
            Command::Export(arguments) => export::run(&arguments, given),
            Command::Backup(arguments) => backup::backup(&arguments, given),
            Command::Restore(arguments) => backup::restore(&arguments, given),
            Command::VerifyPods(arguments) => return Ok(verify::run(&arguments)),
            Command::Watch(arguments) => watch::run(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments, given),
            Command::Log(command) => log::run(&command, given),
            Command::Config(command) => config(&command, given),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn config(command: &ConfigCommand, layers: SettingsLayers) -> Result<()> {
    match command {
        ConfigCommand::Example => show::print(settings::EXAMPLE),
        ConfigCommand::Show => show::print(&settings::load(layers, Mode::Run)?.to_toml()?),
        ConfigCommand::Check => {
            settings::load(layers, Mode::Run)?;
            show::print("the settings are valid\n")
        }
    }
}

/// Variables that are not Unicode are not ours.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_make_sense() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn recompute_without_a_record_is_told_of_both_ways_to_name_them() {
        let parse = |arguments: &[&str]| {
            Arguments::try_parse_from([&["tickwell", "recompute"], arguments].concat()).map(|_| ())
        };
        let message = parse(&[]).unwrap_err().to_string();
        assert!(message.contains("SEQ") && message.contains("--all"), "{message}");
        assert!(parse(&["--all"]).is_ok() && parse(&["1", "2"]).is_ok() && parse(&["1", "--all"]).is_err());
    }
}
