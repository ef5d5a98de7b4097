//! Windows: a tree of summaries over the newest ticks.
//!
//! The tree is persistent. Adding a tick copies the few nodes on the right edge and shares all others, so
//! that every snapshot owns its own tree at almost no cost, and any window of it is the merge of a few
//! ready-made summaries: O(log n), nothing kept per configured window.

use std::sync::Arc;

use common::domain::{Slot, Timestamp};

use crate::summary::{Point, Summary};

/// Children of a node. Half of them are merged one by one on each level of a window's left edge: with eight, a
/// day of ten-second ticks takes half a microsecond, with sixteen four times that.
const FAN_OUT: usize = 8;

/// The newest ticks of one pair. Cloning is cheap and shares everything.
#[derive(Debug, Clone, Default)]
pub struct Window {
    root: Option<Arc<Node>>,
}

#[derive(Debug)]
struct Node {
    summary: Summary,
    children: Children,
}

#[derive(Debug, Clone)]
enum Children {
    Ticks(Vec<Point>),
    Nodes(Vec<Arc<Node>>),
}

impl Window {
    /// The window with one more tick, which must be newer than all in it.
    #[must_use]
    pub fn push(&self, point: Point) -> Self {
        let root = match &self.root {
            None => Arc::new(Node::leaf(point)),
            Some(root) => match root.push(point) {
                Pushed::Fitted(root) => root,
                Pushed::Overflowed(sibling) => Arc::new(Node::branch(vec![root.clone(), sibling])),
            },
        };
        Self { root: Some(root) }
    }

    /// The window without ticks before `cutoff`. Some may stay, where a node also holds newer ones: what
    /// is asked for is cut exactly, this only frees memory.
    #[must_use]
    pub fn without_before(&self, cutoff: Timestamp) -> Self {
        let Some(root) = &self.root else { return Self::default() };
        if root.summary.last.slot.start() < cutoff {
            return Self::default();
        }
        Self { root: Some(root.without_before(cutoff)) }
    }

    /// The summary of the ticks in `(from, to]`; nothing where there are none.
    pub fn summarize(&self, from: Timestamp, to: Slot) -> Option<Summary> {
        let mut found = None;
        if let Some(root) = &self.root {
            root.collect(Stretch { from, to: to.start() }, &mut found);
        }
        found
    }

    /// Visits the ticks in `(from, to]`, oldest first.
    pub fn visit(&self, from: Timestamp, to: Slot, each: &mut impl FnMut(&Point)) {
        if let Some(root) = &self.root {
            root.visit(Stretch { from, to: to.start() }, each);
        }
    }
}

/// A stretch `(from, to]` of time.
#[derive(Clone, Copy)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
}

impl Stretch {
    fn holds(self, slot: Slot) -> bool {
        slot.start() > self.from && slot.start() <= self.to
    }
}

enum Pushed {
    /// The node with the tick in it.
    Fitted(Arc<Node>),
    /// The node is full; the tick is in a new sibling of the same height.
    Overflowed(Arc<Node>),
}

impl Node {
    fn leaf(point: Point) -> Self {
        Self { summary: Summary::of(point), children: Children::Ticks(vec![point]) }
    }

    /// A node above one or more nodes.
    fn branch(children: Vec<Arc<Self>>) -> Self {
        let mut summaries = children.iter().map(|child| child.summary);
        let first = summaries.next();
        let merged = summaries.fold(first, |merged, next| merged.map(|merged| merged.merge(&next)));
        #[expect(clippy::expect_used, reason = "every caller passes at least one child")]
        let summary = merged.expect("a branch has children");
        Self { summary, children: Children::Nodes(children) }
    }

    fn push(&self, point: Point) -> Pushed {
        let summary = self.summary.merge(&Summary::of(point));
        let children = match &self.children {
            Children::Ticks(ticks) if ticks.len() < FAN_OUT => {
                let mut ticks = ticks.clone();
                ticks.push(point);
                Children::Ticks(ticks)
            }
            Children::Ticks(_) => return Pushed::Overflowed(Arc::new(Self::leaf(point))),
            Children::Nodes(nodes) => {
                let mut nodes = nodes.clone();
                match nodes.last().map(|last| last.push(point)) {
                    Some(Pushed::Fitted(node)) => {
                        nodes.pop();
                        nodes.push(node);
                    }
                    Some(Pushed::Overflowed(sibling)) if nodes.len() < FAN_OUT => nodes.push(sibling),
                    Some(Pushed::Overflowed(sibling)) => {
                        return Pushed::Overflowed(Arc::new(Self::branch(vec![sibling])));
                    }
                    None => nodes.push(Arc::new(Self::leaf(point))),
                }
                Children::Nodes(nodes)
            }
        };
        Pushed::Fitted(Arc::new(Self { summary, children }))
    }

    /// Drops children that end before `cutoff`; the node's own last tick is not before it.
    fn without_before(self: &Arc<Self>, cutoff: Timestamp) -> Arc<Self> {
        let Children::Nodes(nodes) = &self.children else { return self.clone() };
        let kept: Vec<Arc<Self>> =
            nodes.iter().skip_while(|node| node.summary.last.slot.start() < cutoff).cloned().collect();
        match kept.as_slice() {
            // A root with one child is that child: the tree does not grow for ever.
            [only] => only.without_before(cutoff),
            _ if kept.len() == nodes.len() => self.clone(),
            _ => Arc::new(Self::branch(kept)),
        }
    }

    fn collect(&self, stretch: Stretch, found: &mut Option<Summary>) {
        if !self.touches(stretch) {
            return;
        }
        if stretch.holds(self.summary.first.slot) && stretch.holds(self.summary.last.slot) {
            add(found, &self.summary);
            return;
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().for_each(|node| node.collect(stretch, found)),
            Children::Ticks(ticks) => ticks
                .iter()
                .filter(|point| stretch.holds(point.slot))
                .for_each(|point| add(found, &Summary::of(*point))),
        }
    }

    fn visit(&self, stretch: Stretch, each: &mut impl FnMut(&Point)) {
        if !self.touches(stretch) {
            return;
        }
        match &self.children {
            Children::Nodes(nodes) => nodes.iter().for_each(|node| node.visit(stretch, each)),
            Children::Ticks(ticks) => {
                ticks.iter().filter(|point| stretch.holds(point.slot)).for_each(each);
            }
        }
    }

    /// Whether a tick of it may lie in the stretch.
    fn touches(&self, stretch: Stretch) -> bool {
        self.summary.last.slot.start() > stretch.from && self.summary.first.slot.start() <= stretch.to
    }
}

fn add(found: &mut Option<Summary>, next: &Summary) {
    *found = Some(found.map_or(*next, |found| found.merge(next)));
}

#[cfg(test)]
mod tests;
