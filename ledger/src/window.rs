//! Windows: a tree of summaries over the newest ticks.
//!
//! Adding a tick does not change the tree. It creates a new tree that shares all nodes with the old one, except for the
//! few nodes on the right edge. So every snapshot owns a tree at almost no cost. The summary of any window is merged
//! from a few summaries in the tree, in O(log n). So nothing has to be stored for each window that clients may request.

use std::{ops::ControlFlow, sync::Arc};

use common::domain::{Sequence, Slot, Timestamp};

use crate::summary::{Point, Summary};

/// The largest number of children of a node. At the left edge of a window, on average half of a node's children are
/// merged one by one on each level. With eight children, this takes half a microsecond for a day of ten-second ticks.
/// With sixteen, it takes four times as long.
const FAN_OUT: usize = 8;

/// A tick of a window: what averages and lists need of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowTick {
    /// What averages need.
    pub point: Point,
    /// The sequence of its record.
    pub sequence: Sequence,
}

/// The newest ticks of one pair. Cloning is cheap because everything is shared.
#[derive(Debug, Clone, Default)]
pub struct Window {
    root: Option<Arc<Node>>,
}

#[derive(Debug, Clone)]
struct Node {
    summary: Summary,
    children: Children,
}

#[derive(Debug, Clone)]
enum Children {
    Ticks(Vec<WindowTick>),
    Nodes(Vec<Arc<Node>>),
}

impl Window {
    /// The window with one more tick, which must be newer than all others.
    #[must_use]
    pub fn push(self, tick: WindowTick) -> Self {
        let root = match self.root {
            None => Arc::new(Node::leaf(tick)),
            Some(mut root) => match Node::push(&mut root, tick) {
                None => root,
                Some(sibling) => Arc::new(Node::branch(vec![root, sibling])),
            },
        };
        Self { root: Some(root) }
    }

    /// The window without ticks before `cutoff`, to free memory. Some of those ticks stay, because their node also has
    /// newer ones. [`Window::summarize`] is exact in any case.
    #[must_use]
    pub fn without_before(&self, cutoff: Timestamp) -> Self {
        let Some(root) = &self.root else { return Self::default() };
        if root.summary.last.slot.start() < cutoff {
            return Self::default();
        }
        Self { root: Some(root.without_before(cutoff)) }
    }

    /// The summary of the ticks in `(from, to]`. `None` if there are none.
    pub fn summarize(&self, from: Timestamp, to: Slot) -> Option<Summary> {
        let mut found = None;
        if let Some(root) = &self.root {
            root.collect(TimeRange { from, to: to.start() }, &mut found);
        }
        found
    }

    /// The newest tick at or before an instant. `None` if the window has none.
    pub fn newest_at(&self, instant: Timestamp) -> Option<Point> {
        self.root.as_ref()?.newest_at(instant)
    }

    /// Visits the ticks in `(from, to]`, oldest first, until `each` breaks off.
    pub fn visit(
        &self,
        from: Timestamp,
        to: Timestamp,
        each: &mut impl FnMut(&WindowTick) -> ControlFlow<()>,
    ) {
        if let Some(root) = &self.root {
            let _is_complete = root.visit(TimeRange { from, to }, each);
        }
    }

    /// Visits the ticks in `(from, to]`, newest first, until `each` breaks off.
    pub fn visit_back(
        &self,
        from: Timestamp,
        to: Timestamp,
        each: &mut impl FnMut(&WindowTick) -> ControlFlow<()>,
    ) {
        if let Some(root) = &self.root {
            let _is_complete = root.visit_back(TimeRange { from, to }, each);
        }
    }
}

/// A range `(from, to]` of time.
#[derive(Clone, Copy)]
struct TimeRange {
    from: Timestamp,
    to: Timestamp,
}

impl TimeRange {
    fn contains(self, slot: Slot) -> bool {
        slot.start() > self.from && slot.start() <= self.to
    }
}

impl Node {
    fn leaf(tick: WindowTick) -> Self {
        Self { summary: Summary::of(tick.point), children: Children::Ticks(vec![tick]) }
    }

    /// Creates the parent of one or more nodes.
    fn branch(children: Vec<Arc<Self>>) -> Self {
        let mut summaries = children.iter().map(|child| child.summary);
        let first = summaries.next();
        let merged = summaries.fold(first, |merged, next| merged.map(|merged| merged.merge(&next)));
        #[expect(clippy::expect_used, reason = "every caller passes at least one child")]
        let summary = merged.expect("a branch has children");
        Self { summary, children: Children::Nodes(children) }
    }

    /// Adds a tick. If the node is full, it stays as it is, and the tick is in the new sibling of the same height that
    /// is returned. A node that another tree shares is copied first. So of the ticks of one batch, only the first ones
    /// copy.
    fn push(node: &mut Arc<Self>, tick: WindowTick) -> Option<Arc<Self>> {
        let Self { summary, children } = Arc::make_mut(node);
        let sibling = match children {
            Children::Ticks(ticks) if ticks.len() < FAN_OUT => {
                ticks.push(tick);
                None
            }
            Children::Ticks(_) => Some(Arc::new(Self::leaf(tick))),
            Children::Nodes(nodes) => {
                let sibling = match nodes.last_mut() {
                    Some(last) => Self::push(last, tick),
                    None => Some(Arc::new(Self::leaf(tick))),
                };
                match sibling {
                    Some(sibling) if nodes.len() < FAN_OUT => {
                        nodes.push(sibling);
                        None
                    }
                    sibling => sibling.map(|sibling| Arc::new(Self::branch(vec![sibling]))),
                }
            }
        };
        if sibling.is_none() {
            *summary = summary.merge(&Summary::of(tick.point));
        }
        sibling
    }

    /// Drops children that end before `cutoff`. The node's last tick must not be before `cutoff`.
    fn without_before(self: &Arc<Self>, cutoff: Timestamp) -> Arc<Self> {
        let Children::Nodes(nodes) = &self.children else { return self.clone() };
        let kept: Vec<Arc<Self>> =
            nodes.iter().skip_while(|node| node.summary.last.slot.start() < cutoff).cloned().collect();
        match kept.as_slice() {
            // A root with a single child is replaced by that child, so that the tree does not keep growing.
            [only] => only.without_before(cutoff),
            _ if kept.len() == nodes.len() => self.clone(),
            _ => Arc::new(Self::branch(kept)),
        }
    }

    fn collect(&self, range: TimeRange, found: &mut Option<Summary>) {
        if !self.touches(range) {
            return;
        }
        if range.contains(self.summary.first.slot) && range.contains(self.summary.last.slot) {
            add(found, &self.summary);
            return;
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().for_each(|node| node.collect(range, found)),
            Children::Ticks(ticks) => ticks
                .iter()
                .filter(|tick| range.contains(tick.point.slot))
                .for_each(|tick| add(found, &Summary::of(tick.point))),
        }
    }

    fn visit(
        &self,
        range: TimeRange,
        each: &mut impl FnMut(&WindowTick) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.touches(range) {
            return ControlFlow::Continue(());
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().try_for_each(|node| node.visit(range, each)),
            Children::Ticks(ticks) => {
                ticks.iter().filter(|tick| range.contains(tick.point.slot)).try_for_each(each)
            }
        }
    }

    fn visit_back(
        &self,
        range: TimeRange,
        each: &mut impl FnMut(&WindowTick) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.touches(range) {
            return ControlFlow::Continue(());
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().rev().try_for_each(|node| node.visit_back(range, each)),
            Children::Ticks(ticks) => {
                ticks.iter().rev().filter(|tick| range.contains(tick.point.slot)).try_for_each(each)
            }
        }
    }

    fn newest_at(&self, instant: Timestamp) -> Option<Point> {
        let is_at = |point: &Point| point.slot.start() <= instant;
        if is_at(&self.summary.last) || !is_at(&self.summary.first) {
            return Some(self.summary.last).filter(is_at);
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().rev().find_map(|node| node.newest_at(instant)),
            Children::Ticks(ticks) => ticks.iter().map(|tick| tick.point).rfind(|point| is_at(point)),
        }
    }

    /// Whether one of the node's ticks may be in the range.
    fn touches(&self, range: TimeRange) -> bool {
        self.summary.last.slot.start() > range.from && self.summary.first.slot.start() <= range.to
    }
}

fn add(found: &mut Option<Summary>, next: &Summary) {
    *found = Some(found.map_or(*next, |found| found.merge(next)));
}

#[cfg(test)]
mod tests;
