//! What can be wrong with a venue: a closed set, written as one word each, some with a value after a colon.
//!
//! [`Fault`] is only the name. What it does to an answer is in [`crate::upstream`]; [`catalogue()`] lists them
//! all with their meaning.

mod assignment;
mod catalogue;
mod text;

use rust_decimal::Decimal;

pub use assignment::Assignment;
pub use catalogue::{Entry, catalogue};

use crate::Venue;

/// One way for a venue to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this HTTP status and nothing of use.
    Status(Status, Option<RetryAfter>),
    /// Accepts the request and never answers.
    Hang,
    /// Answers after so many seconds.
    Slow(u32),
    /// Sends a byte every tenth of a second, for ever.
    Drip,
    /// Resets the connection in the middle of the body.
    Reset,
    /// Closes the connection without an answer.
    Close,
    /// Announces a longer body than it sends.
    Short,
    /// Announces a shorter body than it sends.
    Long,
    /// Redirects to the address where clouds keep a machine's secrets.
    Redirect,
    /// Sends a body without an end.
    Endless,
    /// Sends a small body that unpacks to a huge one.
    Bomb,
    /// Sends a page for people, with status 200.
    Html,
    /// Sends JSON of a hundred thousand nested lists.
    Deep,
    /// Sends bytes that are no text.
    Garbage,
    /// Sends half of its true body, as if that were all.
    Cut,
    /// Says, with status 200 and in its own form, that there is nothing.
    Empty,
    /// Every price is not a number.
    Nan,
    /// Every price is infinite.
    Infinite,
    /// Every price is 1e400.
    Huge,
    /// Every price is zero.
    Zero,
    /// Every price is negative.
    Negative,
    /// Every price is a word.
    Text,
    /// Every price is so many times the true one.
    Times(Decimal),
    /// Prices and times stay what they were when the fault began.
    Stuck,
    /// The time of every price is so many seconds old.
    Late(u32),
    /// The time of every price lies so many seconds ahead.
    Early(u32),
    /// Answers about another pair than it was asked for.
    WrongPair,
    /// Each pair has the price of another one.
    Swapped,
    /// Fails in its own words.
    Error,
    /// Says in its own words that it was asked too often.
    Limited,
}

/// The HTTP statuses that a venue can be made to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 403: forbidden.
    Forbidden,
    /// 418: banned, in the dialect of some exchanges.
    Banned,
    /// 429: too many requests.
    TooMany,
    /// 451: not available in this place.
    Elsewhere,
    /// 500: broken.
    Broken,
    /// 503: unavailable.
    Unavailable,
}

/// When a venue says that it may be asked again: so many seconds ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// As a number of seconds.
    Seconds(u32),
    /// As an HTTP date.
    Date(u32),
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Forbidden, Self::Banned, Self::TooMany, Self::Elsewhere, Self::Broken, Self::Unavailable];

    /// The status as HTTP writes it.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Banned => 418,
            Self::TooMany => 429,
            Self::Elsewhere => 451,
            Self::Broken => 500,
            Self::Unavailable => 503,
        }
    }
}

impl Fault {
    /// Whether the fault makes a difference at the venue: one that gives no time cannot be late, one whose
    /// answer does not name its pair cannot name another, and of one no error of its own is known.
    #[must_use]
    pub const fn applies_to(self, venue: Venue) -> bool {
        match self {
            Self::Late(_) | Self::Early(_) => venue.gives_time(),
            Self::WrongPair => !matches!(venue, Venue::Coinbase),
            Self::Error => !matches!(venue, Venue::Bitstamp),
            _ => true,
        }
    }
}
