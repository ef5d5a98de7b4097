//! A venue and its fault, as an argument of a command: `kraken=stuck`.

use std::str::FromStr;

use anyhow::{Context, ensure};

use super::Fault;
use crate::Venue;

/// A venue and a fault that has an effect there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The venue.
    pub venue: Venue,
    /// The fault.
    pub fault: Fault,
}

impl FromStr for Assignment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (venue, fault) = text
            .split_once('=')
            .with_context(|| format!("{text:?} is not of the form VENUE=FAULT, such as kraken=stuck"))?;
        let (venue, fault): (Venue, Fault) = (venue.parse()?, fault.parse()?);
        ensure!(fault.applies_to(venue), "the fault {fault} has no effect on {venue}");
        Ok(Self { venue, fault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_word_is_reported_with_the_valid_ones() {
        let good = Assignment { venue: Venue::Kraken, fault: Fault::Stuck };
        assert_eq!("kraken=stuck".parse::<Assignment>().unwrap(), good);
        for (wrong, hint) in [
            ("kraken", "kraken=stuck"),
            ("krakken=stuck", "bitstamp"),
            ("kraken=stock", "stuck"),
            ("kraken=late:600", "late:600"),
        ] {
            let message = wrong.parse::<Assignment>().unwrap_err().to_string();
            assert!(message.contains(hint), "{wrong}: {message}");
        }
    }
}
