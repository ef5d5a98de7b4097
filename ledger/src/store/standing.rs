//! What a pair's log has for an instant: the tick that stood then, or why there was none.
//!
//! Ticks and gaps never overlap. So the tick or gap that an instant belongs to is the newest one that begins at or before
//! the instant.

use common::domain::{Pair, Slot, Timestamp};

use super::{Order, Store, StoreError, StoredGap, StoredTick};

/// The part of a pair's log that a response may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where history begins. Slots before this instant are past their retention.
    pub from: Timestamp,
    /// The pair's newest slot.
    pub newest: Slot,
}

/// What a pair's log has for an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The newest slot at or before the instant has this tick.
    Tick(StoredTick),
    /// The newest slot at or before the instant belongs to a gap.
    Gap {
        /// The gap.
        gap: StoredGap,
        /// The newest tick before the gap. `None` if history has none.
        before: Option<StoredTick>,
    },
    /// History has no slot at or before the instant.
    BeforeHistory,
    /// The instant is after the newest slot, so the log may still get another slot at or before the instant.
    Future,
}

impl Store {
    /// What stood at an instant. The store may have records outside of the extent, which do not count.
    pub fn standing(&self, pair: Pair, extent: Extent, instant: Timestamp) -> Result<Standing, StoreError> {
        if instant > extent.newest.start() {
            return Ok(Standing::Future);
        }
        let end = instant.next();
        let tick = self.ticks(pair, extent.from, end, Order::Descending).next().transpose()?;
        let gap = self.gaps(pair, extent.from, end, Order::Descending).next().transpose()?;
        Ok(match (tick, gap) {
            (tick, Some(gap)) if tick.is_none_or(|tick| tick.slot < gap.from) => {
                Standing::Gap { gap, before: tick }
            }
            (Some(tick), _) => Standing::Tick(tick),
            (None, _) => Standing::BeforeHistory,
        })
    }
}

#[cfg(test)]
mod tests;
