//! One source's matching traces, newest first, found as late as possible.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tracewell_store::table::{Bitmap, Rows, Source, SourceError, TraceBlock, TraceEntry, TraceSet};

use super::scan::{Scan, place, rows_in_chunk};
use super::sources::Part;
use super::{Meter, TraceFacts};
use crate::error::Halt;
use crate::plan::{Pred, Program, candidates};

/// The traces of one source that can match, by filter and together. Found once for each source and query.
#[derive(Debug)]
pub(crate) struct Sets {
    filters: Vec<TraceSet>,
    /// Those that any filter can match.
    union: TraceSet,
}

impl Sets {
    /// Asks the index; not at all where the source lies outside of the time range.
    pub fn new(source: &dyn Source, program: &Program) -> Result<Self, SourceError> {
        let (first, last) = source.time_range();
        if first >= program.end || last < program.start {
            return Ok(Self::nothing(program));
        }
        let filters =
            program.filters.iter().map(|filter| candidates(source, &filter.pred)).collect::<Result<Vec<_>, _>>()?;
        let mut union = none();
        for set in &filters {
            union = match (union, set) {
                (TraceSet::Some { traces: all, .. }, TraceSet::Some { traces, exact }) => {
                    TraceSet::Some { traces: all | traces, exact: *exact }
                }
                _ => TraceSet::All,
            };
        }
        Ok(Self { filters, union })
    }

    /// For a source that cannot be read.
    pub fn nothing(program: &Program) -> Self {
        Self { filters: program.filters.iter().map(|_| none()).collect(), union: none() }
    }

    /// Can filter `filter` match the trace?
    fn allows(&self, filter: usize, ordinal: u32) -> bool {
        match self.filters.get(filter) {
            Some(TraceSet::Some { traces, .. }) => traces.contains(ordinal),
            _ => true,
        }
    }

    /// Does the index alone know that filter `filter` matches every trace that it allows?
    fn is_exact(&self, filter: usize, program: &Program) -> bool {
        match self.filters.get(filter) {
            Some(TraceSet::Some { exact, .. }) => *exact,
            _ => program.filters.get(filter).is_some_and(|filter| matches!(filter.pred, Pred::Const(true))),
        }
    }

    /// The traces that can match.
    pub fn union(&self) -> &TraceSet {
        &self.union
    }
}

fn none() -> TraceSet {
    TraceSet::Some { traces: RoaringBitmap::new(), exact: true }
}

/// A trace some of whose spans here may match.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub ordinal: u32,
    pub entry: TraceEntry,
    pub rows: Rows,
    /// The filters that have matched here; tests that need more than the row count as passed.
    pub mask: u64,
}

impl Found {
    /// Trace number `within` of a block.
    pub fn new(block: &TraceBlock, within: usize, mask: u64) -> Option<Self> {
        let (entry, rows) = (block.entries.get(within)?.clone(), block.rows.get(within)?.clone());
        Some(Self { ordinal: block.first_ordinal + within as u32, entry, rows, mask })
    }

    /// What was found, as a part of its trace.
    pub fn into_part(self, source: usize) -> Part {
        Part { source, ordinal: self.ordinal, entry: self.entry, rows: self.rows }
    }
}

/// A query's way through one source.
pub(crate) struct Walk<'a> {
    pub scan: Scan<'a>,
    program: &'a Program,
    sets: Arc<Sets>,
    /// Rows of recent chunks that passed each filter, where whole chunks are tested.
    whole: Vec<[Option<(u32, Bitmap)>; 2]>,
    dense: Vec<bool>,
    /// For each filter, whether its set needs no look at the rows of a trace that lies within the time range.
    exact: Vec<bool>,
    position: Position,
    bound: Option<u64>,
    /// No span that takes less matches any filter.
    duration_min_ns: u64,
}

enum Position {
    /// Traces stand in order of their start: the next is the last candidate below this ordinal.
    Below { ordinal: u32, block: Option<Arc<TraceBlock>>, placed: bool },
    /// They stand in no order and have not been looked at.
    Unsorted,
    /// They have been found and sorted; the next is at the end.
    Sorted(Vec<Found>),
}

impl<'a> Walk<'a> {
    pub fn new(source: &'a dyn Source, program: &'a Program, sets: Arc<Sets>, meter: &'a Meter<'a>) -> Self {
        let position = match source.ordered() {
            true => Position::Below { ordinal: source.trace_count(), block: None, placed: false },
            false => Position::Unsorted,
        };
        // Whole chunks are worth testing when many of their traces are asked for anyway.
        let dense = sets
            .filters
            .iter()
            .map(|set| match set {
                TraceSet::All => true,
                TraceSet::Some { traces, .. } => traces.len() > u64::from(source.trace_count()) / 8,
            })
            .collect();
        let exact = (0..program.filters.len()).map(|filter| sets.is_exact(filter, program)).collect();
        let is_empty = matches!(&sets.union, TraceSet::Some { traces, .. } if traces.is_empty());
        let bound = (!is_empty).then(|| source.time_range().1.min(program.end.saturating_sub(1)));
        let whole = program.filters.iter().map(|_| [None, None]).collect();
        let duration_min_ns = program.filters.iter().map(|filter| filter.pred.duration_min_ns()).min().unwrap_or(0);
        let scan = Scan::new(source, program, meter);
        Self { scan, program, sets, whole, dense, exact, position, bound, duration_min_ns }
    }

    /// No trace that is still to be found starts later, within this source; `None` when all were found.
    pub fn bound(&self) -> Option<u64> {
        self.bound
    }

    /// Looks for the next trace. `None` when there is none at or after `until`; [`Walk::bound`] then says how far it got.
    pub fn next(&mut self, until: u64) -> Result<Option<Found>, Halt> {
        loop {
            match &mut self.position {
                Position::Unsorted => {
                    let found = self.find_all()?;
                    self.position = Position::Sorted(found);
                    self.settle();
                }
                Position::Sorted(found) => {
                    if self.bound.is_none_or(|bound| bound < until) {
                        return Ok(None);
                    }
                    let next = found.pop();
                    self.settle();
                    return Ok(next);
                }
                Position::Below { .. } => {
                    if self.bound.is_none_or(|bound| bound < until) {
                        return Ok(None);
                    }
                    if let Some(found) = self.step()? {
                        return Ok(Some(found));
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        if let Position::Sorted(found) = &self.position {
            self.bound = found.last().map(|found| found.entry.start);
        }
    }

    /// Looks at the next candidate of an ordered source.
    fn step(&mut self) -> Result<Option<Found>, Halt> {
        self.place_by_time()?;
        let source = self.scan.source;
        let Position::Below { ordinal, block, .. } = &mut self.position else { return Ok(None) };
        let next = match &self.sets.union {
            TraceSet::All => ordinal.checked_sub(1),
            TraceSet::Some { traces, .. } => traces.range(..*ordinal).next_back(),
        };
        let Some(next) = next else {
            self.bound = None;
            return Ok(None);
        };
        *ordinal = next;
        let held = match block {
            Some(block) if (next.wrapping_sub(block.first_ordinal) as usize) < block.entries.len() => Arc::clone(block),
            _ => {
                let loaded = source.trace_block(source.block_of_ordinal(next))?;
                *block = Some(Arc::clone(&loaded));
                loaded
            }
        };
        let within = next.wrapping_sub(held.first_ordinal) as usize;
        let (Some(entry), Some(rows)) = (held.entries.get(within), held.rows.get(within)) else {
            return Err(Halt::Source(SourceError::Damaged {
                file: source.name(),
                reason: format!("trace {next} is not in the block that should hold it"),
            }));
        };
        self.bound = Some(entry.start);
        if self.is_out(entry) {
            return Ok(None);
        }
        let mask = self.mask(next, entry, rows, None)?;
        Ok((mask != 0).then(|| Found { ordinal: next, entry: entry.clone(), rows: rows.clone(), mask }))
    }

    /// Does the entry alone tell that no span matches: by the time range, or because the whole trace took less time than
    /// any span that is asked for?
    fn is_out(&self, entry: &TraceEntry) -> bool {
        entry.start >= self.program.end
            || entry.end < self.program.start
            || entry.end.saturating_sub(entry.start) < self.duration_min_ns
    }

    /// Skips the traces that start after the time range, block by halves.
    fn place_by_time(&mut self) -> Result<(), Halt> {
        let source = self.scan.source;
        let Position::Below { ordinal, placed, .. } = &mut self.position else { return Ok(()) };
        if std::mem::replace(placed, true) || source.time_range().1 < self.program.end {
            return Ok(());
        }
        let (mut low, mut high) = (0, source.trace_blocks());
        // Blocks below `low` begin within or before the range, those from `high` on after it.
        while low < high {
            let middle = low + (high - low) / 2;
            let block = source.trace_block(middle)?;
            if block.entries.first().is_some_and(|entry| entry.start < self.program.end) {
                low = middle + 1;
                *ordinal = block.first_ordinal + block.entries.len() as u32;
            } else {
                high = middle;
                *ordinal = block.first_ordinal;
            }
        }
        if let Some(last) = low.checked_sub(1) {
            let block = source.trace_block(last)?;
            let within = block.entries.partition_point(|entry| entry.start < self.program.end);
            *ordinal = block.first_ordinal + within as u32;
        }
        Ok(())
    }

    /// All traces of an unordered source that may match, the newest last.
    fn find_all(&mut self) -> Result<Vec<Found>, Halt> {
        let source = self.scan.source;
        // Look at the rows first: with none that passes, the list of traces is not needed.
        let by_rows = self.dense.iter().zip(&self.exact).all(|(dense, exact)| *dense && !exact);
        if by_rows && !self.any_row()? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for index in 0..source.trace_blocks() {
            found.extend(self.found_in_block(&*source.trace_block(index)?)?);
        }
        found.sort_by(|left, right| {
            (left.entry.start, right.entry.trace_id).cmp(&(right.entry.start, left.entry.trace_id))
        });
        Ok(found)
    }

    fn any_row(&mut self) -> Result<bool, Halt> {
        let chunks = self.scan.source.rows().div_ceil(self.scan.source.chunk_rows().max(1));
        for filter in 0..self.program.filters.len() {
            for index in 0..chunks {
                if self.whole_chunk(filter, index)?.any() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The traces of a block that may match.
    fn found_in_block(&mut self, block: &TraceBlock) -> Result<Vec<Found>, Halt> {
        let mut all = Vec::new();
        for (within, mask) in self.masks_in_block(block)? {
            all.extend(Found::new(block, within, mask));
        }
        Ok(all)
    }

    /// The traces of a block that may match, by their place in it, and the filters that match them.
    pub fn masks_in_block(&mut self, block: &TraceBlock) -> Result<Vec<(usize, u64)>, Halt> {
        let mut masks = Vec::new();
        let sets = Arc::clone(&self.sets);
        let end = block.first_ordinal.saturating_add(block.entries.len() as u32);
        let ordinals: Box<dyn Iterator<Item = u32>> = match sets.union() {
            TraceSet::All => Box::new(block.first_ordinal..end),
            TraceSet::Some { traces, .. } => Box::new(traces.range(block.first_ordinal..end)),
        };
        for ordinal in ordinals {
            let within = (ordinal - block.first_ordinal) as usize;
            let (Some(entry), Some(rows)) = (block.entries.get(within), block.rows.get(within)) else { continue };
            if self.is_out(entry) {
                continue;
            }
            let mask = self.mask(ordinal, entry, rows, None)?;
            if mask != 0 {
                masks.push((within, mask));
            }
        }
        Ok(masks)
    }

    /// The filters that match a span among `rows`, which are those of the trace.
    pub fn mask(
        &mut self,
        ordinal: u32,
        entry: &TraceEntry,
        rows: &Rows,
        facts: Option<&TraceFacts>,
    ) -> Result<u64, Halt> {
        let covered = self.scan.covered || (entry.start >= self.program.start && entry.end < self.program.end);
        let mut mask = 0;
        for filter in 0..self.program.filters.len() {
            let matches = self.sets.allows(filter, ordinal)
                && facts.is_none_or(|facts| self.program.filters[filter].pred.possible(facts))
                && (covered && self.exact[filter] || self.matches(filter, rows, facts)?);
            mask |= u64::from(matches) << filter;
        }
        Ok(mask)
    }

    fn matches(&mut self, filter: usize, rows: &Rows, facts: Option<&TraceFacts>) -> Result<bool, Halt> {
        let chunk_rows = self.scan.source.chunk_rows();
        if facts.is_none() && self.dense[filter] {
            return match rows {
                Rows::Range(first, end) => {
                    let mut from = *first;
                    while from < *end {
                        let (index, low) = place(from, chunk_rows);
                        let high = low + (*end - from).min(chunk_rows - low as u32) as usize;
                        if any_between(self.whole_chunk(filter, index)?, low, high) {
                            return Ok(true);
                        }
                        from += (high - low) as u32;
                    }
                    Ok(false)
                }
                Rows::List(rows) => {
                    for row in rows {
                        let (index, row) = place(*row, chunk_rows);
                        if self.whole_chunk(filter, index)?.get(row) {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
            };
        }
        for (index, rows) in by_chunk(self.scan.source, rows) {
            if self.scan.filter(filter, index, &rows, facts)?.any() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rows of a whole chunk that pass a filter.
    fn whole_chunk(&mut self, filter: usize, index: u32) -> Result<&Bitmap, Halt> {
        let held = self.whole[filter].iter().position(|slot| slot.as_ref().is_some_and(|(found, _)| *found == index));
        let slot = match held {
            Some(slot) => slot,
            None => {
                let rows = Bitmap::filled(rows_in_chunk(self.scan.source, index), true);
                let passed = self.scan.filter(filter, index, &rows, None)?;
                self.whole[filter].swap(0, 1);
                self.whole[filter][0] = Some((index, passed));
                0
            }
        };
        match &self.whole[filter][slot] {
            Some((_, passed)) => Ok(passed),
            None => Err(Halt::Source(SourceError::Damaged {
                file: self.scan.source.name(),
                reason: "a chunk was lost while it was used".into(),
            })),
        }
    }

    /// The rows of a trace that pass any filter in `mask`, ascending.
    pub fn matched_rows(&mut self, mask: u64, rows: &Rows, facts: &TraceFacts) -> Result<Vec<u32>, Halt> {
        let mut matched = Vec::new();
        let chunk_rows = self.scan.source.chunk_rows();
        for (index, rows) in by_chunk(self.scan.source, rows) {
            let mut passed = Bitmap::filled(rows.len(), false);
            for filter in (0..self.program.filters.len()).filter(|filter| mask >> filter & 1 == 1) {
                passed.or(&self.scan.filter(filter, index, &rows, Some(facts))?);
            }
            matched.extend(passed.iter().map(|row| index * chunk_rows + row as u32));
        }
        Ok(matched)
    }
}

/// Rows of a trace as a bitmap for each chunk that they lie in.
pub(crate) fn by_chunk(source: &dyn Source, rows: &Rows) -> Vec<(u32, Bitmap)> {
    let mut chunks: Vec<(u32, Bitmap)> = Vec::new();
    for row in rows.iter() {
        let (index, row) = place(row, source.chunk_rows());
        if chunks.last().is_none_or(|(last, _)| *last != index) {
            chunks.push((index, Bitmap::filled(rows_in_chunk(source, index), false)));
        }
        if let Some((_, bitmap)) = chunks.last_mut()
            && row < bitmap.len()
        {
            bitmap.set(row);
        }
    }
    chunks
}

/// Is any row from `low` up to but not including `high` set?
fn any_between(bitmap: &Bitmap, low: usize, high: usize) -> bool {
    let high = high.min(bitmap.len());
    if low >= high {
        return false;
    }
    let (first, last) = (low / 64, (high - 1) / 64);
    bitmap.words().iter().enumerate().take(last + 1).skip(first).any(|(index, word)| {
        let mut word = *word;
        if index == first {
            word &= u64::MAX << (low % 64);
        }
        if index == last {
            word &= u64::MAX >> (63 - (high - 1) % 64);
        }
        word != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_between_agrees_with_looking_at_every_row() {
        let mut bitmap = Bitmap::filled(200, false);
        [0, 63, 64, 130, 199].into_iter().for_each(|row| bitmap.set(row));
        for low in 0..200 {
            for high in low..=210 {
                let expected = (low..high).any(|row| bitmap.get(row));
                assert_eq!(any_between(&bitmap, low, high), expected, "{low}..{high}");
            }
        }
    }
}
