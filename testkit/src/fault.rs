//! The faults that a venue can have. Each is written as a word, some with a value after a colon.
//!
//! A [`Fault`] only names a misbehaviour. [`crate::upstream`] implements the faults, and [`catalogue()`] describes them.

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
    /// Returns this HTTP status and no prices.
    Status(Status, Option<RetryAfter>),
    /// Accepts the request and never responds.
    Hang,
    /// Responds after this many seconds.
    Slow(u32),
    /// Sends one byte every tenth of a second, for about a day.
    Drip,
    /// Resets the connection in the middle of the body.
    Reset,
    /// Closes the connection without a response.
    Close,
    /// Announces a longer body than it sends.
    Short,
    /// Announces a shorter body than it sends.
    Long,
    /// Redirects to the metadata service of cloud machines.
    Redirect,
    /// Sends a body without an end.
    Endless,
    /// Sends a small compressed body that decompresses to a huge one.
    Bomb,
    /// Sends an HTML page with status 200.
    Html,
    /// Sends JSON with 100,000 nested lists.
    Deep,
    /// Sends bytes that are not UTF-8.
    Garbage,
    /// Sends half of the correct body as if it were complete.
    Cut,
    /// Sends a response of the normal form, with status 200, but without any prices.
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
    /// Every price is multiplied by this factor.
    Times(Decimal),
    /// Prices and times stay what they were when the fault began.
    Stuck,
    /// The time of every price is this many seconds in the past.
    Late(u32),
    /// The time of every price is this many seconds in the future.
    Early(u32),
    /// Returns another pair than the requested one.
    WrongPair,
    /// Each pair has the price of another one.
    Swapped,
    /// Returns the venue's own error response.
    Error,
    /// Returns the venue's own response to too many requests.
    Limited,
}

/// The HTTP statuses of [`Fault::Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 403: forbidden.
    Forbidden,
    /// 418: some exchanges return it to clients that they have banned.
    Banned,
    /// 429: too many requests.
    TooMany,
    /// 451: not available in this country.
    Elsewhere,
    /// 500: internal error.
    Broken,
    /// 503: unavailable.
    Unavailable,
}

/// The `Retry-After` header of a fault, in seconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// As a number of seconds.
    Seconds(u32),
    /// As an HTTP date.
    Date(u32),
}

impl Status {
    /// All statuses.
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
    /// Whether the fault has an effect on the venue. For example, a venue without timestamps cannot be late, and one whose
    /// responses do not name the pair cannot name a wrong one. Coinbase's response with all products has no time and
    /// names them, but its ticker decides.
    #[must_use]
    pub const fn applies_to(self, venue: Venue) -> bool {
        match self {
            Self::Late(_) | Self::Early(_) => venue.gives_time(),
            Self::WrongPair => !matches!(venue, Venue::Coinbase),
            Self::Error => !matches!(venue, Venue::Bitstamp),
            _ => true,
        }
    }

    /// Whether only responses with prices have the fault. Every other fault also affects lists of markets.
    /// [`Fault::Error`] is among them because some venues' errors are about the requested market.
    #[must_use]
    pub const fn is_of_prices(self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::Nan
                | Self::Infinite
                | Self::Huge
                | Self::Zero
                | Self::Negative
                | Self::Text
                | Self::Times(_)
                | Self::Stuck
                | Self::Late(_)
                | Self::Early(_)
                | Self::WrongPair
                | Self::Swapped
                | Self::Error
        )
    }
}
