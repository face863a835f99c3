//! Who is whose parent.

use std::cmp::Reverse;

use super::{Assembler, NONE, Placed, is_incoming, is_outgoing};

/// Of the spans that share an id, as many are considered as parents.
const HOLDERS_MAX: usize = 64;

impl Assembler {
    /// Finds the parent of each span.
    pub fn resolve<S: Placed>(&mut self, spans: &[S]) {
        self.parents.clear();
        self.parents.resize(spans.len(), NONE);
        self.by_id.clear();
        self.by_parent.clear();
        for (span, number) in spans.iter().zip(0..NONE) {
            self.by_id.push((span.span_id().to_u64(), number));
            if let Some(parent) = span.parent_span_id() {
                self.by_parent.push((parent.to_u64(), number));
            }
        }
        self.by_id.sort_unstable();
        self.by_parent.sort_unstable();
        self.has_duplicates = self.by_id.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if self.has_duplicates {
            self.by_id.sort_by(|(a, first), (b, second)| {
                let (one, other) = (&spans[*first as usize], &spans[*second as usize]);
                let starts = || one.start_unix_nano().cmp(&other.start_unix_nano());
                a.cmp(b).then_with(starts).then_with(|| one.compare(other)).then(first.cmp(second))
            });
        }

        // Both are sorted by id: one pass over both.
        let mut rest = self.by_id.as_slice();
        let mut holders: &[(u64, u32)] = &[];
        for (parent, child) in &self.by_parent {
            if holders.first().is_none_or(|(id, _)| id != parent) {
                let skipped = rest.iter().take_while(|(id, _)| id < parent).count();
                let same = rest[skipped..].iter().take_while(|(id, _)| id == parent).count();
                holders = &rest[skipped..skipped + same];
                rest = &rest[skipped + same..];
            }
            self.parents[*child as usize] = match holders {
                [] => NONE,
                [(_, holder)] if holder == child => NONE,
                [(_, holder)] => *holder,
                _ => below(spans, holders, *child),
            };
        }
        if self.has_duplicates {
            self.join_halves(spans);
        }
    }

    /// Puts incoming spans below the outgoing ones that share their id.
    fn join_halves<S: Placed>(&mut self, spans: &[S]) {
        let parents = &mut self.parents;
        for holders in self.by_id.chunk_by(|one, other| one.0 == other.0).filter(|holders| holders.len() > 1) {
            for (id, number) in holders {
                let half = &spans[*number as usize];
                if !is_incoming(half) {
                    continue;
                }
                let has_own =
                    parents[*number as usize] != NONE && half.parent_span_id().is_some_and(|own| own.to_u64() != *id);
                let others = holders.iter().take(HOLDERS_MAX).map(|(_, other)| *other);
                let outgoing = others.enumerate().filter(|(_, other)| {
                    let other = &spans[*other as usize];
                    is_outgoing(other) && (!has_own || other.parent_span_id() == half.parent_span_id())
                });
                let best = outgoing.max_by_key(|(place, other)| {
                    let other = &spans[*other as usize];
                    (!other.same_service(half), began_within(other, half), began_last(other, half), Reverse(*place))
                });
                if let Some((_, other)) = best {
                    parents[*number as usize] = other;
                }
            }
        }
    }
}

/// The most plausible of several spans with one id to be the parent of a child that names it.
fn below<S: Placed>(spans: &[S], holders: &[(u64, u32)], child: u32) -> u32 {
    let record = &spans[child as usize];
    // A span that names itself: only the other half of its call can be meant, which is seen to later.
    if Some(record.span_id()) == record.parent_span_id() {
        return NONE;
    }
    let holders = holders.iter().take(HOLDERS_MAX).map(|(_, holder)| *holder).enumerate();
    let best = holders.max_by_key(|(place, holder)| {
        let holder = &spans[*holder as usize];
        let same_service = !is_incoming(record) && holder.same_service(record);
        (same_service, began_within(holder, record), is_incoming(holder), began_last(holder, record), Reverse(*place))
    });
    best.map_or(NONE, |(_, holder)| holder)
}

fn began_within<S: Placed>(parent: &S, child: &S) -> bool {
    (parent.start_unix_nano()..=parent.end_unix_nano()).contains(&child.start_unix_nano())
}

/// Grows with the start of a parent that began before its child; nothing if it began later.
fn began_last<S: Placed>(parent: &S, child: &S) -> Option<u64> {
    Some(parent.start_unix_nano()).filter(|start| *start <= child.start_unix_nano())
}
