//! Siblings in order, cycles cut, and all of it in preorder.

use super::{Assembler, NONE, Node, Placed};

impl Assembler {
    /// Puts the spans in preorder, by the parents that [`Assembler::resolve`] found for the same spans.
    pub fn arrange<S: Placed>(&mut self, spans: &[S]) {
        self.order.clear();
        self.order.extend(spans.iter().zip(0..NONE).map(|(span, number)| (span.start_unix_nano(), number)));
        self.order.sort_unstable_by(|(start, one), (other_start, other)| {
            let ties = || spans[*one as usize].compare(&spans[*other as usize]);
            start.cmp(other_start).then_with(ties).then(one.cmp(other))
        });
        self.hang();
        self.walk(spans);
        if self.nodes.len() < self.order.len() {
            self.cut_cycles();
            self.hang();
            self.walk(spans);
        }
    }

    /// Links each span to its first child and its next sibling.
    fn hang(&mut self) {
        let count = self.order.len();
        for list in [&mut self.first_child, &mut self.next_sibling] {
            list.clear();
            list.resize(count, NONE);
        }
        self.roots.clear();
        // From the last to the first: whoever comes is put in front.
        for (_, span) in self.order.iter().rev() {
            match self.parents[*span as usize] {
                NONE => self.roots.push(*span),
                parent => {
                    let first = std::mem::replace(&mut self.first_child[parent as usize], *span);
                    self.next_sibling[*span as usize] = first;
                }
            }
        }
        self.roots.reverse();
    }

    /// Lays down everything that hangs below a root.
    fn walk<S: Placed>(&mut self, spans: &[S]) {
        self.nodes.clear();
        self.nodes.reserve(spans.len());
        self.places.clear();
        self.places.resize(spans.len(), NONE);
        for root in &self.roots {
            let (mut span, mut parent, mut depth) = (*root, None, 0);
            'tree: loop {
                let place = self.nodes.len();
                self.places[span as usize] = place as u32;
                let orphan = parent.is_none() && spans[span as usize].parent_span_id().is_some();
                self.nodes.push(Node { span: span as usize, parent, depth, descendants: 0, orphan });
                let child = self.first_child[span as usize];
                if child != NONE {
                    (span, parent, depth) = (child, Some(place), depth + 1);
                    continue;
                }
                // Up until somebody has a sibling, who is next. Whoever is left has all that is below behind it.
                let mut left = place;
                loop {
                    let Some(above) = self.nodes[left].parent else { break 'tree };
                    self.nodes[above].descendants += self.nodes[left].descendants + 1;
                    let next = self.next_sibling[self.nodes[left].span];
                    if next != NONE {
                        (span, parent, depth) = (next, Some(above), self.nodes[left].depth);
                        break;
                    }
                    left = above;
                }
            }
        }
    }

    /// Makes the earliest span of each cycle a root. What was not reached lies on a cycle or below one.
    fn cut_cycles(&mut self) {
        let mut ranks = vec![0; self.order.len()];
        for ((_, span), rank) in self.order.iter().zip(0_u32..) {
            ranks[*span as usize] = rank;
        }
        // Who came by: each way up has a number of its own.
        let mut seen = vec![NONE; self.order.len()];
        for ((_, first), way) in self.order.iter().zip(0_u32..) {
            if self.places[*first as usize] != NONE {
                continue;
            }
            let mut span = *first;
            while span != NONE && seen[span as usize] == NONE {
                seen[span as usize] = way;
                span = self.parents[span as usize];
            }
            if span == NONE || seen[span as usize] != way {
                continue;
            }
            let (mut earliest, mut other) = (span, self.parents[span as usize]);
            while other != span {
                if ranks[other as usize] < ranks[earliest as usize] {
                    earliest = other;
                }
                other = self.parents[other as usize];
            }
            self.parents[earliest as usize] = NONE;
        }
    }
}
