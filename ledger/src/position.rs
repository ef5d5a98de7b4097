//! Places in the log, and how clients name them.

use std::{fmt, str::FromStr};

use common::{bus::LogIdentity, domain::Sequence};

/// A place in the log, between two events. Every event is told by the place right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The record that it lies beside.
    pub sequence: Sequence,
    side: Side,
}

/// On which side of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Side {
    /// Before it, but behind the gap for what the log had lost in front of it.
    Before,
    #[default]
    Behind,
}

impl Position {
    /// Right behind a record.
    pub const fn behind(sequence: Sequence) -> Self {
        Self { sequence, side: Side::Behind }
    }

    /// Right before a record, behind the gap for what the log had lost in front of it.
    pub const fn before(sequence: Sequence) -> Self {
        Self { sequence, side: Side::Before }
    }

    /// The last record that lies before it.
    pub fn last(self) -> Sequence {
        match self.side {
            Side::Before => Sequence(self.sequence.0.saturating_sub(1)),
            Side::Behind => self.sequence,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Side::Before => write!(formatter, "before-{}", self.sequence),
            Side::Behind => self.sequence.fmt(formatter),
        }
    }
}

/// Where a client wants to go on, as it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log that it means; missing where it gave a sequence alone.
    pub log: Option<String>,
    /// The place in it.
    pub position: Position,
}

/// Why a text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is neither the id of an event nor a sequence; leave it out to begin with the newest")]
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
            _ => Position::behind(sequence(place)?),
        };
        Ok(Self { log: log.map(str::to_owned), position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_ids_are_written() {
        for position in [Position::behind(Sequence(12)), Position::before(Sequence(12))] {
            let cursor: Cursor = format!("abc1-{position}").parse().unwrap();
            assert_eq!(cursor, Cursor { log: Some("abc1".into()), position });
        }
        let plain = Cursor { log: None, position: Position::behind(Sequence(7)) };
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
    fn a_place_before_a_record_lies_behind_the_one_before_it() {
        let (before, behind) = (Position::before(Sequence(5)), Position::behind(Sequence(5)));
        assert!(Position::behind(Sequence(4)) < before && before < behind);
        assert_eq!((before.last(), behind.last()), (Sequence(4), Sequence(5)));
    }
}
