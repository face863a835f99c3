//! Which columns a segment gets: the fixed ones that occur, and the attributes that are frequent enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::segment::{self, Column};
use crate::table::{Field, Signal, Source};

/// Attribute columns of a segment at most.
const ATTRIBUTE_COLUMNS: usize = 256;
/// An attribute gets a column when at least one row in so many has it.
const RARE: u64 = 4_096;

/// The columns of the segment, and attribute fields that go to the remainder.
pub struct Plan {
    pub columns: Vec<Column>,
    pub demoted: Vec<Field>,
}

/// Plans the columns for all rows of `sources`.
pub fn plan(sources: &[Arc<dyn Source>], signal: Signal) -> Plan {
    let rows: u64 = sources.iter().map(|source| u64::from(source.rows())).sum();
    let mut counts: BTreeMap<Field, u64> = BTreeMap::new();
    let mut fixed: Vec<Field> = Vec::new();
    for source in sources {
        for (key, kind, held) in source.attributes() {
            *counts.entry(Field::Attr { key, kind }).or_default() += held;
        }
        fixed.extend(source.fields().into_iter().filter(|field| !matches!(field, Field::Attr { .. })));
    }
    let mut by_count: Vec<(u64, Field)> = counts.into_iter().map(|(field, count)| (count, field)).collect();
    by_count.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.cmp(right)));
    let mut promoted = Vec::new();
    let mut demoted = Vec::new();
    for (count, field) in by_count {
        if promoted.len() < ATTRIBUTE_COLUMNS && count > 0 && count >= rows / RARE {
            promoted.push(field);
        } else if count > 0 {
            demoted.push(field);
        }
    }
    fixed.push(Field::Service);
    if signal == Signal::Traces {
        // Parents are found anew, so either may occur.
        fixed.extend([Field::ParentDistance, Field::ParentSpanId]);
    }
    if !demoted.is_empty() {
        fixed.push(Field::Remainder);
    }
    fixed.extend(promoted);
    Plan { columns: segment::columns(signal, fixed), demoted }
}
