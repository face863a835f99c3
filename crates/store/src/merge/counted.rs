//! What of a row group goes into the rollups.

use super::rows::OutRow;
use crate::index::{HopSpan, Observation, Rollup};
use crate::segment::{Column, Values};
use crate::table::{Field, NO_CODE};

/// Columns that the rollup needs.
#[derive(Default)]
pub struct Counted {
    span_id: Vec<u64>,
    start: Vec<u64>,
    duration: Vec<u64>,
    kind: Vec<u64>,
    status: Vec<u64>,
    service: Option<(Vec<u32>, Vec<String>)>,
    name: Option<(Vec<u32>, Vec<String>)>,
}

impl Counted {
    /// Keeps a column's values if they are counted.
    pub fn take(&mut self, column: &Column, values: &Values) {
        match (&column.field, values) {
            (Some(Field::SpanId), Values::Num { values, .. }) => self.span_id.clone_from(values),
            (Some(Field::Start), Values::Num { values, .. }) => self.start.clone_from(values),
            (Some(Field::Duration), Values::Num { values, .. }) => self.duration.clone_from(values),
            (Some(Field::Kind), Values::Num { values, .. }) => self.kind.clone_from(values),
            (Some(Field::StatusCode), Values::Num { values, .. }) => self.status.clone_from(values),
            (Some(Field::Service), Values::Text { codes, dict }) => {
                self.service = Some((codes.clone(), dict.iter().map(str::to_owned).collect()));
            }
            (Some(Field::Name), Values::Text { codes, dict }) => {
                self.name = Some((codes.clone(), dict.iter().map(str::to_owned).collect()));
            }
            _ => {}
        }
    }

    /// Counts the rows of a row group, each with the ordinal of its trace. `last` is the ordinal of the last row before;
    /// its trace may go on.
    pub fn count(&self, rows: &[OutRow], ordinals: &[u32], last: &mut Option<u32>, rollup: &mut Rollup) {
        let names = numbered(&self.name, rows.len(), |text| rollup.code(text));
        let services = numbered(&self.service, rows.len(), |text| rollup.code(text));
        let callers = numbered(&self.service, rows.len(), |text| rollup.hops.service(text));
        let at = |values: &[u64], row: usize| values.get(row).copied().unwrap_or_default();
        for (row, (out, ordinal)) in rows.iter().zip(ordinals).enumerate() {
            if last.replace(*ordinal) != Some(*ordinal) {
                rollup.hops.finish_trace();
            }
            let (start, kind, status) = (at(&self.start, row), at(&self.kind, row), at(&self.status, row));
            // A duration below zero is a clock that was set back: it counts as none.
            let duration_ns = (at(&self.duration, row) as i64).max(0) as u64;
            let (kind, status) = (kind as i64 as i32, status as i64 as i32);
            let (service, name) = (services[row], names[row]);
            rollup.add(&Observation { start, duration_ns, service, name, kind, status });
            let parent = out.parent_distance.filter(|distance| *distance != 0);
            let parent = parent.map(|distance| rollup.hops.position() as i64 - distance);
            rollup.hops.span(HopSpan {
                id: at(&self.span_id, row),
                start_ns: start,
                duration_ns,
                kind,
                is_error: status == 2,
                service: callers[row],
                parent: parent.and_then(|parent| u32::try_from(parent).ok()),
                is_orphan: out.parent_id.is_some(),
            });
        }
    }
}

/// A number for each row's text.
fn numbered(texts: &Option<(Vec<u32>, Vec<String>)>, rows: usize, mut number: impl FnMut(&str) -> u32) -> Vec<u32> {
    let none = number("");
    let Some((codes, dict)) = texts else { return vec![none; rows] };
    let known: Vec<u32> = dict.iter().map(|text| number(text)).collect();
    codes.iter().map(|code| if *code == NO_CODE { none } else { known[*code as usize] }).collect()
}
