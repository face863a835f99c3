//! The table of traces: blocks of entries by ordinal, and the way from an id to its ordinal.

use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::TraceId;

use super::format::{Kind, SectionWriter};
use crate::segment::WriteError;
use crate::segment::varint::{Input, put, put_signed};
use crate::table::{Rows, StrTable, TraceBlock, TraceEntry};

/// Traces in a block.
pub const BLOCK_TRACES: u32 = 1_024;
/// Traces that a bucket of the look-up holds on average, at most.
const BUCKET_TRACES: usize = 2_048;

/// The hash by which a trace id is looked up. Part of the format.
pub fn hash(id: &TraceId) -> u64 {
    twox_hash::XxHash3_64::oneshot(&id.0)
}

/// The bucket of a hash among `1 << bits`.
pub fn bucket(hash: u64, bits: u32) -> u32 {
    if bits == 0 { 0 } else { (hash >> (64 - bits)) as u32 }
}

/// Collects traces in order of their ordinal.
#[derive(Default)]
pub struct TraceTableWriter {
    pending: Vec<(TraceEntry, u32)>,
    /// First row of each block.
    pub first_rows: Vec<u32>,
    hashes: Vec<u64>,
    count: u32,
    names: StrTable,
    codes: HashMap<Arc<str>, u32>,
    rows: u32,
}

impl TraceTableWriter {
    /// How many traces there are so far.
    pub fn len(&self) -> u32 {
        self.count
    }

    fn code(&mut self, text: &Arc<str>) -> u32 {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        let code = self.names.push(text);
        self.codes.insert(Arc::clone(text), code);
        code
    }

    /// Appends the next trace, whose `rows` rows follow those of the one before.
    pub fn push(&mut self, file: &mut SectionWriter, entry: TraceEntry, rows: u32) -> Result<(), WriteError> {
        self.hashes.push(hash(&entry.trace_id));
        self.count += 1;
        self.pending.push((entry, rows));
        if self.pending.len() as u32 == BLOCK_TRACES {
            self.flush(file)?;
        }
        Ok(())
    }

    fn flush(&mut self, file: &mut SectionWriter) -> Result<(), WriteError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let number = self.first_rows.len() as u32;
        self.first_rows.push(self.rows);
        let mut bytes = Vec::new();
        put(&mut bytes, pending.len() as u64);
        // Column by column, so that like stands beside like.
        pending.iter().for_each(|(entry, _)| bytes.extend_from_slice(&entry.trace_id.0));
        let mut last = 0u64;
        for (entry, _) in &pending {
            put_signed(&mut bytes, entry.start.wrapping_sub(last) as i64);
            last = entry.start;
        }
        pending.iter().for_each(|(entry, _)| put(&mut bytes, entry.end.wrapping_sub(entry.start)));
        for (entry, rows) in &pending {
            put(&mut bytes, u64::from(*rows));
            put(&mut bytes, u64::from(entry.errors));
            self.rows += rows;
        }
        for (entry, _) in &pending {
            match &entry.root {
                None => put(&mut bytes, 0),
                Some((service, name)) => {
                    let (service, name) = (self.code(service), self.code(name));
                    put(&mut bytes, u64::from(service) + 1);
                    put(&mut bytes, u64::from(name));
                }
            }
        }
        file.put((Kind::Traces, 0, number), &bytes)
    }

    /// Writes what remains: the last block, names, look-up and filter. Returns the bits of the look-up.
    pub fn finish(&mut self, file: &mut SectionWriter) -> Result<u32, WriteError> {
        self.flush(file)?;
        let mut names = Vec::new();
        put(&mut names, self.names.len() as u64);
        for name in self.names.iter() {
            put(&mut names, name.len() as u64);
            names.extend_from_slice(name.as_bytes());
        }
        file.put((Kind::Names, 0, 0), &names)?;

        let bits = self.hashes.len().div_ceil(BUCKET_TRACES).next_power_of_two().trailing_zeros();
        let mut entries: Vec<(u64, u32)> =
            self.hashes.iter().enumerate().map(|(ordinal, hash)| (*hash, ordinal as u32)).collect();
        entries.sort_unstable();
        let mut rest = entries.as_slice();
        for number in 0..1u32 << bits {
            let end = rest.partition_point(|(hash, _)| bucket(*hash, bits) <= number);
            let (own, after) = rest.split_at(end);
            rest = after;
            let mut bytes = Vec::with_capacity(6 * own.len());
            let mut last = 0u32;
            for (hash, ordinal) in own {
                // Within a bucket the upper half of the hash ascends; it is all that is kept of it.
                let upper = (hash << bits >> 32) as u32;
                put(&mut bytes, u64::from(upper.wrapping_sub(last)));
                put(&mut bytes, u64::from(*ordinal));
                last = upper;
            }
            file.put((Kind::Lookup, 0, number), &bytes)?;
        }

        self.hashes.sort_unstable();
        self.hashes.dedup();
        if let Some(filter) = super::filter::build(&self.hashes) {
            file.put((Kind::Filter, 0, 0), &filter)?;
        }
        Ok(bits)
    }
}

/// Names of services and root spans from their section.
pub fn read_names(bytes: &[u8]) -> Option<Vec<Arc<str>>> {
    let mut input = Input::new(bytes);
    let count = input.number()?;
    let mut names = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(input.number()?).ok()?;
        names.push(Arc::from(std::str::from_utf8(input.take(length)?).ok()?));
    }
    Some(names)
}

/// A block of traces from its section.
pub fn read_block(bytes: &[u8], first_ordinal: u32, first_row: u32, names: &[Arc<str>]) -> Option<TraceBlock> {
    let mut input = Input::new(bytes);
    let count = usize::try_from(input.number()?).ok().filter(|count| *count <= BLOCK_TRACES as usize)?;
    let ids = input.take(16 * count)?;
    let mut entries: Vec<TraceEntry> = Vec::with_capacity(count);
    let mut last = 0u64;
    for id in ids.chunks_exact(16) {
        last = last.wrapping_add(input.signed()? as u64);
        entries.push(TraceEntry {
            trace_id: TraceId::from_slice(id)?,
            start: last,
            end: last,
            spans: 0,
            errors: 0,
            root: None,
        });
    }
    for entry in &mut entries {
        entry.end = entry.start.wrapping_add(input.number()?);
    }
    let mut rows = Vec::with_capacity(count);
    let mut row = first_row;
    for entry in &mut entries {
        entry.spans = input.number32()?;
        entry.errors = input.number32()?;
        let end = row.checked_add(entry.spans)?;
        rows.push(Rows::Range(row, end));
        row = end;
    }
    for entry in &mut entries {
        let service = input.number32()?;
        if let Some(service) = service.checked_sub(1) {
            let name = input.number32()?;
            entry.root = Some((names.get(service as usize)?.clone(), names.get(name as usize)?.clone()));
        }
    }
    Some(TraceBlock { first_ordinal, entries, rows })
}

/// Ordinals that a bucket of the look-up gives for a hash: usually one or none.
pub fn find(bytes: &[u8], hash: u64, bits: u32) -> Option<Vec<u32>> {
    let wanted = (hash << bits >> 32) as u32;
    let mut input = Input::new(bytes);
    let mut found = Vec::new();
    let mut upper = 0u32;
    while !input.rest().is_empty() {
        upper = upper.wrapping_add(input.number32()?);
        let ordinal = input.number32()?;
        if upper == wanted {
            found.push(ordinal);
        } else if upper > wanted {
            break;
        }
    }
    Some(found)
}
