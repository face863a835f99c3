//! How many traces match, exactly.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tracewell_store::table::TraceSet;

use super::search::Engine;
use super::sources::Part;
use super::walk::{Found, Walk};
use super::{Stop, Total};
use crate::error::Halt;
use crate::plan::{Bound, Need, Pred, Shape};

/// Blocks of traces to count from which it pays to find out first which traces lie in several sources.
const SPLIT_BLOCKS: usize = 64;

impl<'a> Engine<'a> {
    /// Counts all matching traces, on several threads. `known` of them have been found already: the count is never less.
    pub fn count(&self, known: u64) -> Total {
        if let Some(value) = self.count_by_index() {
            return Total { value: value.max(known), exact: true };
        }
        let blocks = self.blocks();
        if blocks.len() > SPLIT_BLOCKS {
            self.sources.learn_split();
        }
        let (next, total) = (AtomicUsize::new(0), AtomicU64::new(0));
        let stopped: Mutex<Option<Stop>> = Mutex::new(None);
        let work = || {
            let mut walks = self.walks();
            while let Some(&(index, block)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.count_block(&mut walks, index, block) {
                    Ok(count) => {
                        total.fetch_add(count, Ordering::Relaxed);
                    }
                    Err(stop) => {
                        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
                        next.store(blocks.len(), Ordering::Relaxed);
                    }
                }
            }
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
        let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(stop) = stopped {
            self.sources.warn(stop.warning());
        }
        Total { value: total.into_inner().max(known), exact: stopped.is_none() }
    }

    /// The count where the index alone knows it: one filter that it answers exactly, one source that can hold
    /// matches, all of it within the time range.
    fn count_by_index(&self) -> Option<u64> {
        let (Shape::Rows, Bound::Filter(filter)) = (&self.program.shape, &self.program.bound) else { return None };
        let pred = &self.program.filters.get(*filter)?.pred;
        let mut counted = None;
        for (index, source) in self.sources.iter() {
            let (first, last) = source.time_range();
            if first >= self.program.end || last < self.program.start {
                continue;
            }
            let covered = self.program.start <= first && last < self.program.end;
            let value = match self.sets(index).union() {
                TraceSet::Some { traces, .. } if traces.is_empty() => continue,
                TraceSet::Some { traces, exact: true } if covered => traces.len(),
                TraceSet::All if covered && matches!(pred, Pred::Const(true)) => u64::from(source.trace_count()),
                _ => return None,
            };
            if counted.replace(value).is_some() {
                return None;
            }
        }
        Some(counted.unwrap_or(0))
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

    fn count_block(&self, walks: &mut [Option<Walk<'a>>], index: usize, block: u32) -> Result<u64, Stop> {
        if self.sources.is_broken(index) {
            return Ok(0);
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
                return Ok(0);
            }
        };
        self.meter.check()?;
        let by_mask = matches!(self.program.shape, Shape::Rows) && self.need == Need::Row;
        let mut count = 0;
        for (within, mask) in masks {
            let Some(trace_id) = block.entries.get(within).map(|entry| entry.trace_id) else { continue };
            let others = self.sources.other_parts(&trace_id, index);
            if others.is_empty() && by_mask {
                count += u64::from(self.program.bound.holds(mask));
            } else if let Some(found) = Found::new(&block, within, mask) {
                count += u64::from(self.counts(walks, index, found, others)?);
            }
        }
        Ok(count)
    }

    /// Does a trace found in one source match, and is this the first source that finds it?
    fn counts(
        &self,
        walks: &mut [Option<Walk<'a>>],
        index: usize,
        found: Found,
        others: Vec<Part>,
    ) -> Result<bool, Stop> {
        for part in others.iter().filter(|part| part.source < index) {
            if self.mask(walks, part, None)? != 0 {
                return Ok(false);
            }
        }
        let mut parts = vec![Part { source: index, ordinal: found.ordinal, entry: found.entry, rows: found.rows }];
        parts.extend(others);
        Ok(self.decide(walks, parts, found.mask)?.is_some())
    }
}
