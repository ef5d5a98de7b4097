//! Lists over time, page by page: what they all take, and what they all do with it.
//!
//! A cursor names a place in time, not a count, so that pages stay stable while records arrive. A pod that has
//! not read the log up to that place says so: what it would leave out, nobody would ask for again.

use common::domain::{Pair, Sequence, Timestamp};
use poem_openapi::Enum;

use super::State;
use crate::{
    dto::TimestampParameter,
    problem::{Code, Problem},
};
use ledger::{
    snapshot::{PairView, Snapshot},
    store::Order,
};

/// When to ask a pod again that is behind: pods are a moment apart.
const BEHIND_RETRY_SECONDS: u64 = 1;

/// Items on a page where nothing else is asked for.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// Items on a page at most: about 1 MB of JSON, or two.
pub(super) const MAX_LIMIT: usize = 10_000;

/// In which order items are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum OrderParameter {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// A checked question for one page.
pub(super) struct Asked {
    pub(super) pair: Pair,
    pub(super) limit: usize,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    order: OrderParameter,
    cursor: Option<Timestamp>,
    at_sequence: Option<Sequence>,
}

/// What is asked for, as it came.
pub(super) struct Parameters {
    pub(super) from: Option<TimestampParameter>,
    pub(super) to: Option<TimestampParameter>,
    pub(super) order: Option<OrderParameter>,
    pub(super) limit: Option<u64>,
    pub(super) cursor: Option<String>,
    pub(super) at_sequence: Option<Sequence>,
}

impl Parameters {
    /// Checks what came. `items` is the plural of what a page has, for the message.
    pub(super) fn check(self, pair: Pair, items: &str) -> Result<Asked, Problem> {
        let limit = self.limit.map_or(Some(DEFAULT_LIMIT), |limit| usize::try_from(limit).ok());
        let limit = limit
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Problem::parameter("limit", format!("a page has 1 to {MAX_LIMIT} {items}")))?;
        let order = self.order.unwrap_or(OrderParameter::Desc);
        let cursor = self.cursor.map(|cursor| parse_cursor(&cursor, order)).transpose()?;
        let (from, to) = (self.from.map(|from| from.0), self.to.map(|to| to.0));
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Problem::parameter("from", format!("{from} is after to, {to}")));
        }
        Ok(Asked { pair, limit, from, to, order, cursor, at_sequence: self.at_sequence })
    }
}

impl Asked {
    /// The order of the items.
    pub(super) fn order(&self) -> Order {
        match self.order {
            OrderParameter::Asc => Order::Ascending,
            OrderParameter::Desc => Order::Descending,
        }
    }

    /// The range `[from, to)` in which this page's items lie; nothing where it is empty.
    pub(super) fn range(
        &self,
        state: &State,
        view: &PairView,
    ) -> Result<Option<(Timestamp, Timestamp)>, Problem> {
        if self.cursor.is_some_and(|cursor| cursor > view.slot.start()) {
            return Err(self.behind());
        }
        // What the snapshot does not know yet may be in the store already, and what is past retention may
        // still be there: neither is part of the answer.
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

    /// What to say to whoever comes with a cursor of a later state of the log than this one.
    fn behind(&self) -> Problem {
        if self.at_sequence.is_some() {
            return Problem::parameter("cursor", "this is the cursor of a page of a later at_sequence");
        }
        let detail = "this pod has not read the log up to this cursor yet; ask again in a moment";
        Problem::new(Code::SequenceAhead, detail).naming("cursor").retry_after(BEHIND_RETRY_SECONDS)
    }

    /// Whether no record to come can change any page of this range: it is said where it begins and ends, it begins
    /// within what is told, and everything before `needed` of its end is covered by records.
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
        // Not the slot that is due: a pair whose interval is shortened has one before it.
        from >= newest.minus(state.retain_ticks) && needed(to) <= newest.next()
    }

    /// Takes off the item beyond the page that tells of another one, and answers that page's cursor. `place` is
    /// where an item begins.
    pub(super) fn cut<T>(&self, items: &mut Vec<T>, place: impl Fn(&T) -> Timestamp) -> Option<String> {
        let next = items.get(self.limit).map(&place)?;
        items.truncate(self.limit);
        items.last().map(|last| self.cursor_between(place(last), next))
    }

    /// The cursor of the page whose items come after one that begins at `last`, and from one at `next` on.
    ///
    /// Both are of the log already, and a pod that has them has everything that this page leads to: forwards it
    /// is told by the item that was promised.
    pub(super) fn cursor_between(&self, last: Timestamp, next: Timestamp) -> String {
        let place = match self.order {
            OrderParameter::Asc => next,
            OrderParameter::Desc => last,
        };
        format!("{}{}", mark(self.order), place.unix_millis())
    }

    /// The `Link` header to the page with this cursor. `list` is the last part of the route, and `more`
    /// whatever else was asked for, each as `name=value&`.
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
            "</v1/prices/{}/{list}?{}{}{more}{pinned}order={order}&limit={}&cursor={cursor}>; rel=\"next\"",
            self.pair,
            millis("from", self.from),
            millis("to", self.to),
            self.limit,
        )
    }
}

/// A place in time, marked with the order that it was read in.
fn parse_cursor(text: &str, order: OrderParameter) -> Result<Timestamp, Problem> {
    let digits =
        text.strip_prefix(mark(order)).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = digits.and_then(|millis| millis.parse().ok());
    parsed.and_then(|millis| Timestamp::from_unix_millis(millis).ok()).ok_or_else(|| {
        Problem::parameter(
            "cursor",
            "this is no next_cursor of a page in this order; leave it out to begin anew",
        )
    })
}

fn mark(order: OrderParameter) -> char {
    match order {
        OrderParameter::Asc => 'a',
        OrderParameter::Desc => 'd',
    }
}
