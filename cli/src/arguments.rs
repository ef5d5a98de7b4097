//! Commands and flags.
//!
//! - [`examples`]: an example of each command, for its help.
//! - [`mistakes`]: what was probably meant by a command line that cannot be parsed.

mod examples;
mod mistakes;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::{
    backup::{self, BackupArguments, RestoreArguments},
    compose,
    export::{self, ExportArguments},
    healthcheck::{self, HealthcheckArguments},
    import::{self, ImportArguments},
    log::{self, LogCommand},
    mode::Mode,
    price::{self, PriceArguments},
    recompute::{self, RecomputeArguments},
    settings::{self, SettingsLayers},
    show, sources,
    verify::{self, VerifyArguments},
    watch::{self, WatchArguments},
};

/// A self-hosted crypto price feed. One poller asks public exchanges, combines their prices into one price per slot
/// and publishes it. Any number of API pods serve the prices over HTTP.
///
/// Without a command, everything runs in one process and nothing else is needed. A setting is read from the first of
/// these that has it: a flag (--set feed.interval=10s), an environment variable (TICKWELL__FEED__INTERVAL=10s), the
/// file tickwell.toml, the defaults. `tickwell config example` prints all settings.
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
    /// Read settings from this file instead of ./tickwell.toml
    #[arg(long, global = true, value_name = "FILE", env = "TICKWELL_CONFIG")]
    config: Option<PathBuf>,

    /// Override one setting, such as feed.interval=5s; can be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = settings::parse_override)]
    overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the poller and the API in one process (the default command)
    ///
    /// The log is kept in the store (store.path), or on NATS if bus.url is set.
    Run {
        /// Use simulated prices, labelled as such, and a separate store. Needs no internet access
        #[arg(long)]
        demo: bool,
    },
    /// Run the poller only: ask the sources and publish to NATS (bus.url)
    Poller,
    /// Run the API only: follow the log on NATS (bus.url) and serve it over HTTP
    Api,
    /// Show live prices from a running pod
    ///
    /// On a terminal, shows a table with one line per pair. Otherwise, prints one line per event. If the connection is
    /// lost, reconnects (to the next pod if several are given) and continues after the last event.
    Watch(WatchArguments),
    /// Show the price of a pair now or at given times, or add price columns to a CSV file
    ///
    /// The price at a time is that of the newest slot at or before it. If that slot has no price, the reason is shown
    /// instead: a gap with its cause, a time before history, or a time after the newest slot. Exits with 1 if there is
    /// no price at one of the times of --at.
    ///
    /// With --annotate, all prices are those of one sequence of the log, which the command prints at the end. A row
    /// without a price gets empty cells, and the column price_outcome has the reason.
    Price(PriceArguments),
    /// Show how many requests each source gets and its rate limit, then ask each source for prices once
    ///
    /// Fails if a source does not return a price for every pair.
    Sources {
        /// Only show the requests and rate limits, without asking the sources for prices
        #[arg(long)]
        no_probe: bool,
    },
    /// Recompute stored records from their quotes and report every record that differs
    ///
    /// Reads the log on NATS if bus.url is set, otherwise the store in store.path, which no running process may be
    /// using. To read the records of a running process, give its address with --url.
    Recompute(RecomputeArguments),
    /// Export the ticks, gaps or candles of a pair as CSV or NDJSON
    ///
    /// Rows are ordered from oldest to newest, and prices have the same digits as in the log. Reads from a running
    /// pod (--url), or from the store of a stopped one (store.path).
    Export(ExportArguments),
    /// Import your own history of a pair into a new log, before the first record of the pair
    ///
    /// The records are marked as backfilled, and their quotes as imported. Writes to the log on NATS if bus.url is set,
    /// otherwise to the store in store.path; no poller may be running. Refused if the log already has records of the
    /// pair. When a poller starts, it continues behind the imported history.
    Import(ImportArguments),
    /// Back up a store into one file
    ///
    /// Copies the store of a running pod (--from) or of a stopped one (store.path). The backup is a snapshot: it
    /// holds the store as it was at one moment.
    Backup(BackupArguments),
    /// Restore a store from a backup
    ///
    /// Never overwrites an existing store. If the log is on NATS, a pod with the restored store continues to read the
    /// log where the backup ends. If bus.url is not set, the store of `tickwell run` is the log itself: everything
    /// that was recorded after the backup is lost, and the log gets a new identity.
    Restore(RestoreArguments),
    /// Compare the responses of several pods byte for byte and report every difference
    ///
    /// Requests every route of /v1 from each pod, as of the newest sequence that all pods have. Ignores whether a
    /// price is marked as stale, because that also depends on the current time. Exits with 0 if all responses are the
    /// same, with 1 if a response differs, and with 2 if the pods could not be compared.
    VerifyPods(VerifyArguments),
    /// Check whether a running Tickwell process is alive
    ///
    /// Made for the health checks of container engines. Exits with 0 if the process is alive (or ready, with --ready).
    /// Otherwise prints the reason and exits with 1. The address of the process is taken from the settings: from
    /// admin.listen if it is set, otherwise from api.listen. So use the same settings as the process.
    Healthcheck(HealthcheckArguments),
    /// Create, check, repair, back up or restore the log on NATS, and create keys for it
    #[command(subcommand)]
    Log(LogCommand),
    /// Show, check or explain the settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective settings as TOML, without secrets
    Show,
    /// Check the settings without starting anything
    Check,
    /// Print a tickwell.toml with every setting, its meaning and its default
    Example,
}

/// The command line, with an example in the help of each command.
pub(crate) fn command() -> clap::Command {
    examples::add_to(Arguments::command())
}

impl Arguments {
    /// Parses the command line. Prints help or an error and exits if there is nothing to run.
    pub(crate) fn of_process() -> Self {
        Self::parse_all(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    fn parse_all(given: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(&given);
        let parsed = matches.and_then(|matches| Self::from_arg_matches(&matches));
        let parsed = parsed.map_err(|error| mistakes::explained(error).format(&mut command))?;
        match mistakes::split_flag(&given, parsed.settings.overrides.len()) {
            Some(flag) => {
                let message =
                    format!("{flag} is given before and after the command; give it only after the command");
                Err(command.error(ErrorKind::ArgumentConflict, message))
            }
            None => Ok(parsed),
        }
    }

    /// Runs the command. Returns the exit code, because some commands distinguish more than success and failure.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let SettingsArguments { config: file, overrides } = self.settings;
        let layers = SettingsLayers { file, overrides, environment: environment() };
        let start = |mode, layers| compose::run(mode, settings::load(layers, mode)?);
        let done = match self.command.unwrap_or(Command::Run { demo: false }) {
            Command::Run { demo: false } => start(Mode::Run, layers),
            Command::Run { demo: true } => start(Mode::Demo, layers),
            Command::Poller => start(Mode::Poller, layers),
            Command::Api => start(Mode::Api, layers),
            Command::Sources { no_probe } => sources::run(&settings::load(layers, Mode::Run)?, !no_probe),
            Command::Recompute(arguments) => recompute::run(&arguments, layers),
            Command::Export(arguments) => export::run(&arguments, layers),
            Command::Import(arguments) => import::run(&arguments, layers),
            Command::Backup(arguments) => backup::backup(&arguments, layers),
            Command::Restore(arguments) => backup::restore(&arguments, layers),
            Command::VerifyPods(arguments) => return Ok(verify::run(&arguments)),
            Command::Price(arguments) => price::run(&arguments),
            Command::Watch(arguments) => watch::run(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments, layers),
            Command::Log(command) => log::run(&command, layers),
            Command::Config(command) => config(&command, layers),
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

/// The environment variables of this process. Skips those that are not valid Unicode, because no setting needs
/// such a value.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_commands_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn no_setting_before_the_command_is_lost() {
        let parse = |arguments: &[&str]| {
            let given = [&["tickwell"], arguments].concat().into_iter().map(OsString::from).collect();
            Arguments::parse_all(given).map(|parsed| parsed.settings.overrides.len())
        };
        assert_eq!(parse(&["--set", "a=1", "run"]).unwrap(), 1);
        assert_eq!(parse(&["run", "--set", "a=1", "--set=b=2"]).unwrap(), 2);
        assert_eq!(parse(&["--config", "one.toml", "run"]).unwrap(), 0);
        for refused in [
            ["--set", "a=1", "run", "--set", "b=2"].as_slice(),
            &["--set=a=1", "config", "show", "--set=b=2"],
            &["--config", "one.toml", "run", "--config=other.toml"],
        ] {
            assert_eq!(parse(refused).unwrap_err().kind(), ErrorKind::ArgumentConflict, "{refused:?}");
        }
    }

    #[test]
    fn recompute_needs_sequences_or_all_and_says_so() {
        let parse = |arguments: &[&str]| {
            Arguments::try_parse_from([&["tickwell", "recompute"], arguments].concat()).map(|_| ())
        };
        let message = parse(&[]).unwrap_err().to_string();
        assert!(message.contains("SEQ") && message.contains("--all"), "{message}");
        assert!(parse(&["--all"]).is_ok() && parse(&["1", "2"]).is_ok() && parse(&["1", "--all"]).is_err());
    }
}
