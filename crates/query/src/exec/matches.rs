//! Every matching trace of all sources, on several threads, in no order.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracewell_model::TraceId;
use tracewell_store::table::TraceSet;

use super::Stop;
use super::search::Engine;
use super::sources::Part;
use super::walk::{Found, Walk};
use crate::error::Halt;
use crate::plan::{Need, Shape};

/// Blocks of traces to visit from which it pays to find out first which traces lie in several sources.
const SPLIT_BLOCKS: usize = 64;

/// Who wants to know of matching traces. Each thread has one of its own.
pub(crate) trait Visitor: Send {
    /// A trace matches. True when its parts are wanted too.
    fn found(&mut self, trace_id: &TraceId) -> bool;

    /// The parts of the trace that was found last.
    fn take(&mut self, parts: Vec<Part>);
}

impl<'a> Engine<'a> {
    /// Shows every matching trace to one of the visitors, exactly once. Returns them, and why it ended early if it did.
    pub fn matches<V: Visitor>(&self, visitor: impl Fn() -> V + Sync) -> (Vec<V>, Option<Stop>) {
        let blocks = self.blocks();
        if blocks.len() > SPLIT_BLOCKS {
            self.sources.learn_split();
        }
        let next = AtomicUsize::new(0);
        let (stopped, visitors) = (Mutex::new(None), Mutex::new(Vec::new()));
        let work = || {
            let (mut walks, mut visitor) = (self.walks(), visitor());
            while let Some(&(index, block)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(stop) = self.matches_in_block(&mut walks, index, block, &mut visitor) {
                    *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
                    next.store(blocks.len(), Ordering::Relaxed);
                }
            }
            visitors.lock().unwrap_or_else(PoisonError::into_inner).push(visitor);
        };
        let threads = self.meter.threads().min(blocks.len());
        if threads <= 1 {
            work();
        } else {
            std::thread::scope(|scope| {
                (0..threads).for_each(|_| {
                    scope.spawn(work);
                });
            });
        }
        let visitors = visitors.into_inner().unwrap_or_else(PoisonError::into_inner);
        (visitors, stopped.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The blocks of traces that can hold a match.
    fn blocks(&self) -> Vec<(usize, u32)> {
        let mut blocks = Vec::new();
        for (index, source) in self.sources.iter() {
            match self.sets(index).union() {
                TraceSet::All => blocks.extend((0..source.trace_blocks()).map(|block| (index, block))),
                TraceSet::Some { traces, .. } => {
                    let of_source = blocks.len();
                    for block in traces.iter().map(|ordinal| source.block_of_ordinal(ordinal)) {
                        if blocks.len() == of_source || blocks.last() != Some(&(index, block)) {
                            blocks.push((index, block));
                        }
                    }
                }
            }
        }
        blocks
    }

    fn matches_in_block(
        &self,
        walks: &mut [Option<Walk<'a>>],
        index: usize,
        block: u32,
        visitor: &mut impl Visitor,
    ) -> Result<(), Stop> {
        if self.sources.is_broken(index) {
            return Ok(());
        }
        let loaded = self.sources.get(index).trace_block(block).map_err(Halt::from);
        let found = loaded.and_then(|block| {
            let masks = self.walk(walks, index).masks_in_block(&block)?;
            Ok((block, masks))
        });
        let (block, masks) = match found {
            Ok(found) => found,
            Err(Halt::Stop(stop)) => return Err(stop),
            Err(Halt::Source(error)) => {
                self.sources.give_up(index, &error);
                return Ok(());
            }
        };
        self.meter.check()?;
        let by_mask = matches!(self.program.shape, Shape::Rows) && self.need == Need::Row;
        for (within, mask) in masks {
            let Some(trace_id) = block.entries.get(within).map(|entry| entry.trace_id) else { continue };
            let others = self.sources.other_parts(&trace_id, index);
            if others.is_empty() && by_mask {
                if self.program.bound.holds(mask)
                    && visitor.found(&trace_id)
                    && let Some(found) = Found::new(&block, within, mask)
                {
                    visitor.take(vec![found.into_part(index)]);
                }
            } else if let Some(found) = Found::new(&block, within, mask)
                && let Some(parts) = self.parts_if_first(walks, index, found, others)?
                && visitor.found(&trace_id)
            {
                visitor.take(parts);
            }
        }
        Ok(())
    }

    /// The parts of a trace found in one source, if it matches and this is the first source that finds it.
    fn parts_if_first(
        &self,
        walks: &mut [Option<Walk<'a>>],
        index: usize,
        found: Found,
        others: Vec<Part>,
    ) -> Result<Option<Vec<Part>>, Stop> {
        for part in others.iter().filter(|part| part.source < index) {
            if self.mask(walks, part, None)? != 0 {
                return Ok(None);
            }
        }
        let mask = found.mask;
        let mut parts = vec![found.into_part(index)];
        parts.extend(others);
        Ok(self.decide(walks, parts, mask)?.map(|hit| hit.parts))
    }
}
