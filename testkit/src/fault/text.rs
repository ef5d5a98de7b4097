//! Parses and formats faults: `stuck`, `late:600`, `429:date:30`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use rust_decimal::Decimal;

use super::{Fault, RetryAfter, Status, catalogue};

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (word, value) = match text.split_once(':') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        if let Some(status) = Status::ALL.into_iter().find(|status| status.code().to_string() == word) {
            return Ok(Self::Status(status, value.map(str::parse).transpose()?));
        }
        if let Some(fault) = without_value(word) {
            ensure!(value.is_none(), "the fault {word:?} takes no value");
            return Ok(fault);
        }
        let with_seconds = |fault: fn(u32) -> Self| {
            let value = value.with_context(|| {
                format!("the fault {word:?} needs a number of seconds, such as {word}:30")
            })?;
            seconds(value).map(fault)
        };
        match word {
            "slow" => with_seconds(Self::Slow),
            "late" => with_seconds(Self::Late),
            "early" => with_seconds(Self::Early),
            "times" => {
                let factor =
                    value.and_then(|value| value.parse().ok()).filter(|factor| *factor > Decimal::ZERO);
                factor.map(Self::Times).context("the fault \"times\" needs a factor, such as times:100")
            }
            _ => {
                let known: Vec<&str> = catalogue().iter().map(|entry| entry.form).collect();
                bail!("unknown fault {text:?}; the faults are: {}", known.join(", "))
            }
        }
    }
}

fn without_value(word: &str) -> Option<Fault> {
    let known = catalogue().iter().filter_map(|entry| entry.fault);
    known.into_iter().find(|fault| fault.to_string() == word)
}

fn seconds(text: &str) -> anyhow::Result<u32> {
    text.parse().with_context(|| format!("{text:?} is not a whole number of seconds"))
}

impl FromStr for RetryAfter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.strip_prefix("date:") {
            Some(ahead) => seconds(ahead).map(Self::Date),
            None => seconds(text).map(Self::Seconds),
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(formatter, "{seconds}"),
            Self::Date(ahead) => write!(formatter, "date:{ahead}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Status(status, None) => return write!(formatter, "{}", status.code()),
            Self::Status(status, Some(retry)) => return write!(formatter, "{}:{retry}", status.code()),
            Self::Slow(seconds) => return write!(formatter, "slow:{seconds}"),
            Self::Times(factor) => return write!(formatter, "times:{factor}"),
            Self::Late(seconds) => return write!(formatter, "late:{seconds}"),
            Self::Early(seconds) => return write!(formatter, "early:{seconds}"),
            Self::Hang => "hang",
            Self::Drip => "drip",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Short => "short",
            Self::Long => "long",
            Self::Redirect => "redirect",
            Self::Endless => "endless",
            Self::Bomb => "bomb",
            Self::Html => "html",
            Self::Deep => "deep",
            Self::Garbage => "garbage",
            Self::Cut => "cut",
            Self::Empty => "empty",
            Self::Nan => "nan",
            Self::Infinite => "infinite",
            Self::Huge => "huge",
            Self::Zero => "zero",
            Self::Negative => "negative",
            Self::Text => "text",
            Self::Stuck => "stuck",
            Self::WrongPair => "wrong_pair",
            Self::Swapped => "swapped",
            Self::Error => "error",
            Self::Limited => "limited",
        };
        formatter.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_fault_parses_back() {
        for text in ["stuck", "wrong_pair", "429", "429:30", "429:date:30", "503:0", "slow:2", "times:0.01"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        let dated = Fault::Status(Status::TooMany, Some(RetryAfter::Date(30)));
        assert_eq!("429:date:30".parse::<Fault>().unwrap(), dated);
    }

    #[test]
    fn an_invalid_fault_is_rejected_with_the_valid_ones() {
        for wrong in
            ["", "Stuck", "stuck:1", "404", "429:soon", "429:date:", "late", "late:-1", "times:0", "times"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong:?}");
        }
        let message = "stock".parse::<Fault>().unwrap_err().to_string();
        assert!(message.contains("stuck") && message.contains("late:SECONDS"), "{message}");
    }
}
