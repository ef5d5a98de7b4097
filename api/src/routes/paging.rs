//! Lists over time in pages: their common parameters, ranges, cursors and links.
//!
//! A cursor is a point in time and not a count, so pages stay stable while records arrive. A pod that has not yet read
//! the log as far as the cursor refuses the request. If it returned an incomplete page instead, the client would never
//! request the missing items again.

use common::domain::{Pair, Sequence, Timestamp};
use poem_openapi::{Enum, param::Query};

use super::State;
use crate::{
    dto::{PageCursorParameter, TimestampParameter, WholeNumber},
    problem::{Code, Problem},
};
use ledger::{
    snapshot::{PairView, Snapshot},
    store::Order,
};

/// The `Retry-After` if this pod is behind the cursor. A pod is rarely further behind the other pods than this.
const BEHIND_RETRY_SECONDS: u64 = 1;

/// The number of items on a page if the request has no `limit`.
pub(super) const DEFAULT_LIMIT: u64 = 100;

/// The maximum number of items on a page. A page of this size has one or two megabytes of JSON.
pub(crate) const MAX_LIMIT: u64 = 10_000;

/// A page of at most this many items is computed within about a millisecond.
const SHORT_ITEMS: usize = 1_000;

/// The number of items on a page, as a parameter.
pub(super) type LimitParameter = WholeNumber<1, MAX_LIMIT>;

/// The order of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum OrderParameter {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// A valid request for one page.
pub(super) struct PageRequest {
    pub(super) pair: Pair,
    pub(super) limit: usize,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    order: OrderParameter,
    cursor: Option<Timestamp>,
    at_sequence: Option<Sequence>,
}

/// The parameters of a page, as the request has them.
pub(super) struct Parameters {
    pub(super) from: Query<Option<TimestampParameter>>,
    pub(super) to: Query<Option<TimestampParameter>>,
    pub(super) order: Query<Option<OrderParameter>>,
    pub(super) limit: Query<Option<LimitParameter>>,
    pub(super) cursor: Query<Option<PageCursorParameter>>,
    pub(super) at_sequence: Option<Sequence>,
}

impl Parameters {
    /// Checks the parameters against each other.
    pub(super) fn check(self, pair: Pair) -> Result<PageRequest, Problem> {
        let limit = self.limit.0.map_or(DEFAULT_LIMIT, WholeNumber::get);
        let limit = usize::try_from(limit).map_err(Problem::internal)?;
        let order = self.order.0.unwrap_or(OrderParameter::Desc);
        let cursor = self.cursor.0.map(|cursor| parse_cursor(&cursor.0, order)).transpose()?;
        let (from, to) = (self.from.0.map(|from| from.0), self.to.0.map(|to| to.0));
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Problem::parameter("from", format!("from ({from}) must not be after to ({to})")));
        }
        Ok(PageRequest { pair, limit, from, to, order, cursor, at_sequence: self.at_sequence })
    }
}

impl PageRequest {
    /// Whether the page may have many items.
    pub(super) fn is_long(&self) -> bool {
        self.limit > SHORT_ITEMS
    }

    pub(super) fn order(&self) -> Order {
        match self.order {
            OrderParameter::Asc => Order::Ascending,
            OrderParameter::Desc => Order::Descending,
        }
    }

    /// The range `[from, to)` of this page's items, or `None` if it is empty.
    pub(super) fn range(
        &self,
        state: &State,
        view: &PairView,
    ) -> Result<Option<(Timestamp, Timestamp)>, Problem> {
        if self.cursor.is_some_and(|cursor| cursor > view.slot.start()) {
            return Err(self.behind());
        }
        // The store may already have records that are newer than the snapshot, and may still have records that are past
        // their retention. Neither belongs to the response.
        let end = view.slot.start().next();
        let begin = state.history_from(view);
        let mut from = self.from.unwrap_or(begin).max(begin);
        let mut to = self.to.unwrap_or(end).min(end);
        match (self.order, self.cursor) {
            (OrderParameter::Asc, Some(next)) => from = from.max(next),
            (OrderParameter::Desc, Some(last)) => to = to.min(last),
            (_, None) => {}
        }
        Ok((from < to).then_some((from, to)))
    }

    /// The problem for a cursor that is later than the pair's newest slot in the snapshot.
    fn behind(&self) -> Problem {
        if self.at_sequence.is_some() {
            return Problem::parameter(
                "cursor",
                "this cursor is beyond at_sequence; use the at_sequence of the page that returned it",
            );
        }
        let detail = "this pod has not yet read the log as far as this cursor; retry in a moment";
        Problem::new(Code::SequenceAhead, detail).naming("cursor").retry_after(BEHIND_RETRY_SECONDS)
    }

    /// Whether no future record can change any page of this range. That is the case if the request has `from` and `to`,
    /// `from` is within the retention, and the log has a tick or a gap for every slot before `needed(to)`.
    pub(super) fn is_closed(
        &self,
        state: &State,
        snapshot: &Snapshot,
        needed: impl FnOnce(Timestamp) -> Timestamp,
    ) -> bool {
        let (Some(view), Some(from), Some(to)) = (snapshot.pairs.get(&self.pair), self.from, self.to) else {
            return false;
        };
        let newest = view.slot.start();
        // The range must not extend beyond the newest slot. The time between that slot and the next one is not closed:
        // if the pair's interval becomes shorter, another slot can begin in that time.
        from >= newest.minus(state.retain_ticks) && needed(to) <= newest.next()
    }

    /// If there is an item more than fits on the page, there is another page. Removes that item and returns the cursor
    /// of the next page. `place` returns the time at which an item begins.
    pub(super) fn cut<T>(&self, items: &mut Vec<T>, place: impl Fn(&T) -> Timestamp) -> Option<String> {
        let next = items.get(self.limit).map(&place)?;
        items.truncate(self.limit);
        items.last().map(|last| self.cursor_between(place(last), next))
    }

    /// The cursor of the next page. `last` is where the last item of this page begins, and `next` is where the first item
    /// of the next page begins.
    ///
    /// When paging forward, the cursor is the first item of the next page. So a pod that is behind can tell from the
    /// cursor that it has not read that item yet.
    pub(super) fn cursor_between(&self, last: Timestamp, next: Timestamp) -> String {
        let place = match self.order {
            OrderParameter::Asc => next,
            OrderParameter::Desc => last,
        };
        format!("{}{}", mark(self.order), place.unix_millis())
    }

    /// The `Link` header to the page with this cursor. `list` is the last part of the route, to which the link is
    /// relative, so that it also leads to the next page behind a proxy that removes a prefix of the path. `more` has the
    /// route's other parameters, each as `name=value&`.
    pub(super) fn link(&self, list: &str, more: &str, cursor: &str) -> String {
        let millis = |name: &str, at: Option<Timestamp>| {
            at.map(|at| format!("{name}={}&", at.unix_millis())).unwrap_or_default()
        };
        let pinned = self.at_sequence.map(|at| format!("at_sequence={at}&")).unwrap_or_default();
        let order = match self.order {
            OrderParameter::Asc => "asc",
            OrderParameter::Desc => "desc",
        };
        format!(
            "<{list}?{}{}{more}{pinned}order={order}&limit={}&cursor={cursor}>; rel=\"next\"",
            millis("from", self.from),
            millis("to", self.to),
            self.limit,
        )
    }
}

/// Parses a cursor: a letter for the order that it belongs to, and a time.
fn parse_cursor(text: &str, order: OrderParameter) -> Result<Timestamp, Problem> {
    let digits =
        text.strip_prefix(mark(order)).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = digits.and_then(|millis| millis.parse().ok());
    parsed.and_then(|millis| Timestamp::from_unix_millis(millis).ok()).ok_or_else(|| {
        Problem::parameter(
            "cursor",
            "this is not the next_cursor of a page in this order; omit cursor to start with the first page",
        )
    })
}

fn mark(order: OrderParameter) -> char {
    match order {
        OrderParameter::Asc => 'a',
        OrderParameter::Desc => 'd',
    }
}
