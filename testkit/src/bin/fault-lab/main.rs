//! The fault lab shows what the real binary does when its sources misbehave.
//!
//! It starts the fake upstream with random prices, and `tickwell run` with it. After a few healthy slots, the faults begin.
//! The output shows each record, the metrics that changed, and readiness.
//!
//! 1. [`table`]: prints a line for each slot.
//! 2. [`experiment`]: starts the two processes and watches them.
//! 3. [`metrics`]: shows which metrics changed.

mod experiment;
mod metrics;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Parser;
use testkit::Venue;
use testkit::fault::{Assignment, catalogue};

/// Runs Tickwell against exchanges with faults, and shows how it reacts.
///
/// Without arguments, lists the faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// The tickwell binary.
    #[arg(long)]
    binary: PathBuf,
    /// Exchanges and their faults, for example kraken=stuck bitstamp=451.
    #[arg(value_name = "VENUE=FAULT")]
    faults: Vec<Assignment>,
    /// How many slots to watch, including the healthy ones.
    #[arg(long, default_value_t = 12)]
    slots: usize,
    /// How many slots pass before the faults begin.
    #[arg(long, default_value_t = 4)]
    healthy: usize,
    /// The interval between slots in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(200..=60_000))]
    interval: u32,
    /// The sources. The default is the five exchanges with markets in USD, and the venues with a fault.
    #[arg(long, value_delimiter = ',')]
    sources: Vec<Venue>,
    /// A setting for Tickwell, such as aggregate.min_sources=3. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl Arguments {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.healthy < self.slots,
            "--healthy {} must be less than --slots {}",
            self.healthy,
            self.slots
        );
        ensure!(self.healthy > 0, "--healthy must be at least 1, to have something to compare with");
        for Assignment { venue, .. } in &self.faults {
            let sources: Vec<&str> = self.sources().into_iter().map(Venue::name).collect();
            if !sources.contains(&venue.name()) {
                bail!("{venue} has a fault, but is not in --sources {}", sources.join(","));
            }
        }
        Ok(())
    }

    /// The sources, each once.
    fn sources(&self) -> Vec<Venue> {
        if !self.sources.is_empty() {
            return self.sources.clone();
        }
        let faulty = self.faults.iter().map(|assignment| assignment.venue);
        let is_asked = |venue: &Venue| Venue::USD_EXCHANGES.contains(venue);
        let further: Vec<Venue> = faulty.filter(|venue| !is_asked(venue)).collect();
        Venue::ALL.into_iter().filter(|venue| is_asked(venue) || further.contains(venue)).collect()
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval.into())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Print no backtrace, because the cause is in the arguments or the machine and not in the code.
            eprintln!("fault-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.faults.is_empty() {
        print!("{}", known());
        return Ok(());
    }
    arguments.check()?;
    experiment::run(&arguments).await
}

/// The list of venues and faults.
fn known() -> String {
    let venues = Venue::ALL.map(Venue::name).join(", ");
    let lines: String =
        catalogue().iter().map(|entry| format!("  {:<20} {}\n", entry.form, entry.meaning)).collect();
    format!(
        "Choose venues and their faults, such as: just lab kraken=stuck bitstamp=451\n\nVenues: {venues}\n\nFaults:\n{lines}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Arguments> {
        let program = ["fault-lab", "--binary", "tickwell"];
        let arguments = Arguments::try_parse_from(program.iter().chain(words))?;
        arguments.check().map(|()| arguments)
    }

    #[test]
    fn an_invalid_argument_is_reported_with_a_hint() {
        for (words, hint) in [
            (["krakken=stuck", "--slots", "12"], "bitstamp"),
            (["kraken=stock", "--slots", "12"], "stuck"),
            (["kraken=late:600", "--slots", "12"], "no effect"),
            (["kraken=stuck", "--slots", "4"], "--healthy"),
            (["kraken=stuck", "--sources", "gemini"], "--sources"),
            (["kraken=stuck", "--interval", "10"], "200"),
        ] {
            let message = parse(&words).unwrap_err().to_string();
            assert!(message.contains(hint), "{words:?}: {message}");
        }
    }

    #[test]
    fn a_venue_with_a_fault_is_one_of_the_sources() {
        let sources = |words: &[&str]| parse(words).unwrap().sources();
        assert_eq!(sources(&["kraken=stuck"]), Venue::USD_EXCHANGES);
        assert!(sources(&["coingecko=limited"]).contains(&Venue::Coingecko));
        let named = sources(&["gemini=451", "--sources", "kraken,gemini"]);
        assert_eq!(named, [Venue::Kraken, Venue::Gemini]);
    }

    #[test]
    fn every_fault_and_venue_is_listed() {
        let text = known();
        assert!(catalogue().iter().all(|entry| text.contains(entry.form) && text.contains(entry.meaning)));
        assert!(Venue::ALL.into_iter().all(|venue| text.contains(venue.name())));
    }
}
