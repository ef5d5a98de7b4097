//! Positions in the log, and the cursors in which clients name them.

use std::{fmt, str::FromStr};

use common::{bus::LogIdentity, domain::Sequence};

/// A position between two events of the log. An event is identified by the position right after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The record next to the position.
    pub sequence: Sequence,
    side: Side,
}

/// The side of the record that the position is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Side {
    /// Right before the record. If a gap was added for records that are missing there, the position is after that gap.
    Before,
    #[default]
    After,
}

impl Position {
    /// The position right after a record.
    pub const fn after(sequence: Sequence) -> Self {
        Self { sequence, side: Side::After }
    }

    /// The position right before a record. If a gap was added for records that are missing there, the position is after
    /// that gap.
    pub const fn before(sequence: Sequence) -> Self {
        Self { sequence, side: Side::Before }
    }

    /// The last record before the position.
    pub fn last(self) -> Sequence {
        match self.side {
            Side::Before => Sequence(self.sequence.0.saturating_sub(1)),
            Side::After => self.sequence,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Before => write!(formatter, "before-{}", self.sequence),
            Side::After => self.sequence.fmt(formatter),
        }
    }
}

/// The position from which a client wants to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log that the client means. `None` if it gave only a sequence.
    pub log: Option<String>,
    /// The position in that log.
    pub position: Position,
}

/// Why a text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is neither the id of an event nor a sequence; leave it out to start with the newest events")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.log {
            Some(log) => write!(formatter, "{log}-{}", self.position),
            None => self.position.fmt(formatter),
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (log, place) = match text.split_once('-') {
            Some((log, place)) if LogIdentity::new(log).is_some() => (Some(log), place),
            Some(_) => return Err(CursorError),
            None => (None, text),
        };
        let sequence = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map(Sequence).map_err(|_| CursorError),
            false => Err(CursorError),
        };
        let position = match place.strip_prefix("before-") {
            Some(digits) if log.is_some() => Position::before(sequence(digits)?),
            _ => Position::after(sequence(place)?),
        };
        Ok(Self { log: log.map(str::to_owned), position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_from_the_id_of_an_event() {
        for position in [Position::after(Sequence(12)), Position::before(Sequence(12))] {
            let cursor: Cursor = format!("abc1-{position}").parse().unwrap();
            assert_eq!(cursor, Cursor { log: Some("abc1".into()), position });
        }
        let plain = Cursor { log: None, position: Position::after(Sequence(7)) };
        assert_eq!("7".parse(), Ok(plain));
        for text in [
            "",
            "x",
            "-",
            "abc-",
            "abc-x",
            "1-+2",
            "1.5",
            "-1",
            "ABC-1",
            "a.b-1",
            "abc-before-",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_position_before_a_record_is_after_the_previous_one() {
        let (before, after) = (Position::before(Sequence(5)), Position::after(Sequence(5)));
        assert!(Position::after(Sequence(4)) < before && before < after);
        assert_eq!((before.last(), after.last()), (Sequence(4), Sequence(5)));
    }
}
