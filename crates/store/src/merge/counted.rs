//! What of a row group goes into the rollups.

use super::rows::OutRow;
use crate::index::{EdgeTotals, Observation, Rollup};
use crate::segment::{Column, Values};
use crate::table::{Field, NO_CODE};

/// Columns that the rollup needs.
#[derive(Default)]
pub struct Counted {
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

    /// Counts the rows of a row group. Returns service and duration of each for the next group.
    pub fn count(&self, rows: &[OutRow], before: &[(u32, u64)], rollup: &mut Rollup) -> Vec<(u32, u64)> {
        let mut coded = |texts: &Option<(Vec<u32>, Vec<String>)>| -> Vec<u32> {
            let Some((codes, dict)) = texts else { return vec![rollup.code(""); rows.len()] };
            let known: Vec<u32> = dict.iter().map(|text| rollup.code(text)).collect();
            let none = rollup.code("");
            codes.iter().map(|code| if *code == NO_CODE { none } else { known[*code as usize] }).collect()
        };
        let (services, names) = (coded(&self.service), coded(&self.name));
        let at = |values: &[u64], row: usize| values.get(row).copied().unwrap_or_default();
        // A duration below zero is a clock that was set back: it counts as none.
        let duration = |row: usize| (at(&self.duration, row) as i64).max(0) as u64;
        for (row, out) in rows.iter().enumerate() {
            let status = at(&self.status, row) as i64 as i32;
            rollup.add(&Observation {
                start: at(&self.start, row),
                duration_ns: duration(row),
                service: services[row],
                name: names[row],
                kind: at(&self.kind, row) as i64 as i32,
                status,
            });
            let Some(distance) = out.parent_distance.filter(|distance| *distance != 0) else { continue };
            let parent = row as i64 - distance;
            let caller = match usize::try_from(parent) {
                Ok(parent) => services.get(parent).map(|service| (*service, duration(parent))),
                Err(_) => {
                    usize::try_from(before.len() as i64 + parent).ok().and_then(|parent| before.get(parent).copied())
                }
            };
            if let Some((caller, client_ns)) = caller
                && caller != services[row]
            {
                let errors = u64::from(status == 2);
                let call = EdgeTotals { calls: 1, errors, client_ns, server_ns: duration(row) };
                rollup.add_edge(at(&self.start, row), caller, services[row], call);
            }
        }
        (0..rows.len()).map(|row| (services[row], duration(row))).collect()
    }
}
