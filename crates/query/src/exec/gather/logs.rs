//! Rows of one source of log records, into a builder.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use tracewell_analysis::{Builder, Log, LogSource, NO_SPAN, Origin, Text};
use tracewell_model::{SpanId, UNKNOWN_SERVICE};
use tracewell_store::table::{Field, Rows, Source};

use super::columns::{Memo, Origins, Run, each_number};
use crate::error::Halt;
use crate::exec::Meter;
use crate::exec::columns::{Columns, Slot};

/// The columns of one source that are read for each log record.
pub(super) struct LogColumns<'a> {
    source: &'a dyn Source,
    columns: Columns<'a>,
    span_id: Slot,
    time: Slot,
    severity: Slot,
    body: Memo<Text>,
    event_name: Memo<Text>,
    resource: Memo<Text>,
}

impl<'a> LogColumns<'a> {
    pub fn new(source: &'a dyn Source, meter: &'a Meter<'a>) -> Self {
        let mut columns = Columns::new(source, meter);
        let [span_id, time, severity] =
            [Field::SpanId, Field::Start, Field::SeverityNumber].map(|field| columns.slot(&field));
        let [body, event_name, resource] =
            [Field::Body, Field::EventName, Field::Resource].map(|field| Memo::new(columns.slot(&field)));
        Self { source, columns, span_id, time, severity, body, event_name, resource }
    }

    /// Adds a trace's log records to the trace under way; all of them or, where something cannot be read, none.
    pub fn read(
        &mut self,
        rows: &Rows,
        logged: &mut Logged,
        origins: &mut Origins,
        builder: &mut Builder,
    ) -> Result<(), Halt> {
        let rows: Vec<u32> = rows.iter().collect();
        let nothing = Log {
            span: NO_SPAN,
            time_ns: 0,
            service: Text::EMPTY,
            severity: 0,
            site: Text::EMPTY,
            source: LogSource::Record,
        };
        let mut logs: Vec<(Option<SpanId>, Log)> = vec![(None, nothing); rows.len()];
        for run in Run::of(&rows, self.source.chunk_rows()) {
            let columns = &mut self.columns;
            each_number(columns, self.span_id, &run, |place, bits| logs[place].0 = Some(SpanId::from_u64(bits)))?;
            each_number(columns, self.time, &run, |place, bits| logs[place].1.time_ns = bits)?;
            each_number(columns, self.severity, &run, |place, bits| {
                logs[place].1.severity = u8::try_from(bits).unwrap_or(0);
            })?;
            self.event_name.each(
                columns,
                &run,
                |text| Ok(builder.site(text)),
                |place, site| {
                    logs[place].1.site = site;
                },
            )?;
            // What a record says outweighs what it is called.
            self.body.each(columns, &run, |text| Ok(builder.site(text)), |place, site| logs[place].1.site = site)?;
            let source = self.source;
            let service = |text: &str| {
                let Origin { service, .. } = origins.of(text, &source.name(), builder)?;
                let unknown = builder.texts().find(UNKNOWN_SERVICE) == Some(service);
                Ok(if unknown { Text::EMPTY } else { service })
            };
            self.resource.each(columns, &run, service, |place, service| logs[place].1.service = service)?;
        }
        let key = |(span, log): &(Option<SpanId>, Log)| (*span, log.time_ns, log.severity, log.service, log.site);
        logs.retain(|log| !logged.0.contains(&key(log)));
        logged.0.extend(logs.iter().map(key));
        logs.into_iter().for_each(|(span, log)| builder.log(span, log));
        Ok(())
    }
}

/// The log records of a trace that other sources had: what was received twice counts once.
#[derive(Default)]
pub(super) struct Logged(HashSet<(Option<SpanId>, u64, u8, Text, Text), RandomState>);
