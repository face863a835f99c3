//! From spans in any order to [`Traces`].

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use tracewell_model::{
    Assembler, Event, KeyValue, LogEntry, Placed, Resource, SpanId, SpanRecord, StatusCode, TraceId, UNKNOWN_SERVICE,
    Value,
};

use super::kinds;
use super::times::Times;
use super::{Attribute, Link, Log, LogSource, NO_SPAN, Scalar, Span, Status, Text, Texts, Trace, Traces};

/// The attributes that name [`Span::peer`]; an earlier one outweighs a later one.
pub const PEER_KEYS: [&str; 4] = ["peer.service", "db.namespace", "messaging.destination.name", "server.address"];

/// The attributes that hold [`Span::statement`]; an earlier one outweighs a later one.
pub const STATEMENT_KEYS: [&str; 3] = ["db.query.text", "db.statement", "db.query.summary"];

/// The attribute of a link that was an OpenTracing reference: `child_of` or `follows_from` (OpenTelemetry specification,
/// "OpenTracing Compatibility").
pub const REFERENCE_TYPE: &str = "opentracing.ref_type";

/// Takes spans trace by trace.
///
/// [`Builder::span`], [`Builder::link`] and [`Builder::log`] add to the trace under way, in any order, and in any order
/// with the same result; [`Builder::finish_trace`] ends it. What a trace holds twice (the same span, sent again) is taken
/// once: two spans are the same when id, parent, kind, times, service and operation are.
#[derive(Debug, Default)]
pub struct Builder {
    built: Traces,
    pending: Vec<Span>,
    pending_attributes: Vec<Attribute>,
    pending_links: Vec<(SpanId, Link)>,
    pending_logs: Vec<(Option<SpanId>, Log)>,
    assembler: Assembler,
    times: Times,
}

impl Placed for Span {
    fn span_id(&self) -> SpanId {
        self.id
    }

    fn parent_span_id(&self) -> Option<SpanId> {
        self.parent_id
    }

    fn start_unix_nano(&self) -> u64 {
        self.start_ns
    }

    fn end_unix_nano(&self) -> u64 {
        self.end_ns
    }

    fn kind(&self) -> i32 {
        i32::from(self.kind)
    }

    fn same_service(&self, other: &Self) -> bool {
        self.service == other.service
    }
}

impl Default for Span {
    fn default() -> Self {
        Self {
            id: SpanId::default(),
            parent_id: None,
            start_ns: 0,
            end_ns: 0,
            timed: true,
            kind_inferred: false,
            parent: NO_SPAN,
            descendants: 0,
            depth: 0,
            kind: 0,
            status: Status::Unset,
            flags: 0,
            service: Text::EMPTY,
            operation: Text::EMPTY,
            instance: Text::EMPTY,
            host: Text::EMPTY,
            version: Text::EMPTY,
            peer: Text::EMPTY,
            statement: Text::EMPTY,
            trace_state: Text::EMPTY,
            status_message: Text::EMPTY,
            resource: 0,
            attributes_first: 0,
            attributes_count: 0,
        }
    }
}

impl Builder {
    /// Without any trace.
    pub fn new() -> Self {
        let mut builder = Self::default();
        builder.built.resources.push(Vec::new());
        builder
    }

    /// The texts, to number those of the spans to come.
    pub fn texts(&mut self) -> &mut Texts {
        &mut self.built.texts
    }

    /// Takes the attributes of a resource; the number is for [`Span::resource`]. Number 0 is the resource that says nothing.
    pub fn resource(&mut self, attributes: Vec<Attribute>) -> u32 {
        self.built.resources.push(attributes);
        self.built.resources.len() as u32 - 1
    }

    /// Adds a span with its attributes to the trace under way. What concerns its place (`parent`, `descendants`, `depth`,
    /// `attributes_first`, `attributes_count`, `timed`) is overwritten.
    pub fn span(&mut self, mut span: Span, attributes: &[Attribute]) {
        span.attributes_first = self.pending_attributes.len() as u32;
        span.attributes_count = attributes.len() as u32;
        self.pending_attributes.extend_from_slice(attributes);
        self.pending.push(span);
    }

    /// Adds a link of a span of the trace under way. A link to the span's own parent says that it follows from it and that
    /// the parent does not wait ([`REFERENCE_TYPE`] `follows_from`, or a message that is handled); where that attribute is
    /// `child_of`, leave it out; [`Builder::links`] does.
    pub fn link(&mut self, from: SpanId, trace_id: TraceId, span_id: SpanId) {
        self.pending_links.push((from, Link { span: NO_SPAN, trace_id, span_id }));
    }

    /// Adds the links of a span of the trace under way, without those that say no more than that its parent is its parent.
    pub fn links(&mut self, from: SpanId, parent: Option<SpanId>, links: &[tracewell_model::Link]) {
        for link in links {
            // A link to the parent says that the span follows from it, unless OpenTracing's word for it is "child of".
            let attribute = link.attributes.iter().find(|attribute| attribute.key == REFERENCE_TYPE);
            let child_of = attribute.and_then(|attribute| attribute.value.as_str()) == Some("child_of");
            if !(child_of && Some(link.span_id) == parent) {
                self.link(from, link.trace_id, link.span_id);
            }
        }
    }

    /// Adds a log record, or an event, of the trace under way. `log.site` is what the record's text is without what
    /// varies from record to record; `log.span` is overwritten.
    pub fn log(&mut self, span: Option<SpanId>, log: Log) {
        self.pending_logs.push((span, log));
    }

    /// Ends the trace under way: finds parents, sorts siblings, concludes missing times. A trace that no longer fits
    /// (numbers of spans, attributes and logs have 32 bits) is left out.
    pub fn finish_trace(&mut self, id: TraceId, weight: f64) {
        if self.is_full() {
            self.pending.clear();
            self.pending_attributes.clear();
            self.pending_links.clear();
            self.pending_logs.clear();
            return;
        }
        let (first, logs_first) = (self.built.spans.len(), self.built.logs.len());
        self.assembler.resolve(&self.pending);
        if self.assembler.has_duplicates() {
            drop_repeated(&mut self.pending, &self.pending_attributes, &self.built.texts);
            self.assembler.resolve(&self.pending);
        }
        self.times.conclude(&mut self.pending, &self.assembler, &self.pending_logs);
        self.assembler.arrange(&self.pending);
        self.built.spans.reserve(self.pending.len());
        for node in self.assembler.nodes() {
            let mut span = self.pending[node.span];
            span.parent = node.parent.map_or(NO_SPAN, |parent| (first + parent) as u32);
            span.descendants = node.descendants as u32;
            span.depth = node.depth;
            let attributes = span.attributes_first as usize..(span.attributes_first + span.attributes_count) as usize;
            span.attributes_first = self.built.attributes.len() as u32;
            self.built.attributes.extend_from_slice(&self.pending_attributes[attributes]);
            self.built.spans.push(span);
        }
        kinds::conclude(&mut self.built.spans[first..], first);
        // A statement that nobody is named to carry out is work of the service itself: SQLite has no address.
        for span in self.built.spans[first..].iter_mut().filter(|span| span.is_outgoing()) {
            if span.peer.is_empty() && !span.statement.is_empty() && span.descendants == 0 {
                span.peer = span.service;
            }
        }
        self.attach(first, logs_first);
        self.built.traces.push(Trace {
            id,
            first: first as u32,
            end: self.built.spans.len() as u32,
            logs_first: logs_first as u32,
            logs_end: self.built.logs.len() as u32,
            weight,
        });
        self.pending.clear();
        self.pending_attributes.clear();
    }

    fn is_full(&self) -> bool {
        const MAX: usize = NO_SPAN as usize;
        self.built.spans.len() + self.pending.len() >= MAX
            || self.built.attributes.len() + self.pending_attributes.len() >= MAX
            || self.built.logs.len() + self.pending_logs.len() >= MAX
    }

    /// Hangs links and logs on the spans that they belong to.
    fn attach(&mut self, first: usize, logs_first: usize) {
        if self.pending_links.is_empty() && self.pending_logs.is_empty() {
            return;
        }
        let (built, assembler, pending) = (&mut self.built, &self.assembler, &self.pending);
        // Of the two halves of a call with one id that of the log's service; a link is the effect's, the incoming one's.
        let number = |id: SpanId, service: Option<Text>| {
            let holders = assembler.holders(id).take(HALVES_MAX).enumerate();
            let best = holders.max_by_key(|(place, span)| {
                let span = &pending[*span];
                (Some(span.service) == service, span.is_incoming(), Reverse(*place))
            });
            best.and_then(|(_, span)| assembler.place(span)).map_or(NO_SPAN, |place| (first + place) as u32)
        };
        let links_first = built.links.len();
        let links = self.pending_links.drain(..).map(|(from, link)| Link { span: number(from, None), ..link });
        built.links.extend(links.filter(|link| link.span != NO_SPAN));
        built.links[links_first..].sort_unstable_by_key(|link| (link.span, link.trace_id, link.span_id));
        let logs = self.pending_logs.drain(..).map(|(span, log)| {
            let span = span.map_or(NO_SPAN, |id| number(id, Some(log.service)));
            Log { span, ..log }
        });
        built.logs.extend(logs);
        let (texts, logs) = (&built.texts, &mut built.logs[logs_first..]);
        logs.sort_by(|one, other| {
            let key = |log: &Log| (log.time_ns, log.span, log.severity, log.source == LogSource::Event);
            let names = |log: &Log| (texts.get(log.service), texts.get(log.site));
            key(one).cmp(&key(other)).then_with(|| names(one).cmp(&names(other)))
        });
    }

    /// All traces that were ended.
    pub fn finish(self) -> Traces {
        self.built
    }

    /// Traces of any spans and log records, grouped by trace, in the order of their first starts, then of their ids. Log
    /// records of traces without spans are left out.
    pub fn from_records(spans: &[SpanRecord], logs: &[LogEntry]) -> Traces {
        let mut builder = Self::new();
        let mut groups: HashMap<TraceId, (Vec<&SpanRecord>, Vec<&LogEntry>), RandomState> = HashMap::default();
        for record in spans {
            groups.entry(record.span.trace_id).or_default().0.push(record);
        }
        for entry in logs {
            if let Some(group) = entry.record.trace_id.and_then(|id| groups.get_mut(&id)) {
                group.1.push(entry);
            }
        }
        let mut resources: HashMap<*const Resource, Origin, RandomState> = HashMap::default();
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_cached_key(|(id, (spans, _))| {
            let starts = spans.iter().map(|record| record.span.start_unix_nano);
            (starts.filter(|start| *start != 0).min(), *id)
        });
        for (id, (spans, logs)) in groups {
            for record in spans {
                let key = std::sync::Arc::as_ptr(&record.resource);
                let origin = match resources.get(&key) {
                    Some(origin) => *origin,
                    None => {
                        let origin = builder.origin(&record.resource);
                        resources.insert(key, origin);
                        origin
                    }
                };
                builder.record(record, origin);
            }
            for entry in logs {
                builder.log_entry(entry);
            }
            builder.finish_trace(id, 1.0);
        }
        builder.finish()
    }

    /// Takes a resource, and numbers what is asked of it most. Once for each different resource: each call takes it up
    /// anew.
    pub fn origin(&mut self, resource: &Resource) -> Origin {
        let mut find = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| {
                let attribute = resource.attributes.iter().rev().find(|attribute| attribute.key == *key)?;
                attribute.value.as_str().filter(|text| !text.is_empty())
            });
            found.map_or(Text::EMPTY, |text| self.built.texts.number(text))
        };
        let instance = find(&["service.instance.id", "k8s.pod.name", "container.id"]);
        let host = find(&["host.name", "hostname", "k8s.node.name", "host.id"]);
        let version = find(&["service.version"]);
        let service = self.built.texts.number(resource.service_name());
        let attributes = self.scalars(&resource.attributes);
        Origin { service, instance, host, version, resource: self.resource(attributes) }
    }

    /// Attributes as analyses see them.
    pub fn scalars(&mut self, attributes: &[KeyValue]) -> Vec<Attribute> {
        let texts = &mut self.built.texts;
        let scalar = |attribute: &KeyValue| {
            let value = match &attribute.value {
                Value::Str(text) => Scalar::Text(texts.number(text)),
                Value::Bool(value) => Scalar::Bool(*value),
                Value::Int(value) => Scalar::Int(*value),
                Value::Double(value) => Scalar::Double(*value),
                Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => return None,
            };
            Some(Attribute { key: texts.number(&attribute.key), value })
        };
        attributes.iter().filter_map(scalar).collect()
    }

    fn record(&mut self, record: &SpanRecord, origin: Origin) {
        let from = &record.span;
        let attributes = self.scalars(&from.attributes);
        let text = |keys: &[&str]| {
            keys.iter()
                .find_map(|key| from.attribute(key)?.as_str())
                .filter(|text| !text.is_empty())
                .unwrap_or_default()
        };
        let peer = text(&PEER_KEYS);
        let statement = text(&STATEMENT_KEYS);
        let texts = &mut self.built.texts;
        let span = Span {
            id: from.span_id,
            parent_id: from.parent_span_id,
            start_ns: from.start_unix_nano,
            end_ns: from.end_unix_nano,
            kind: u8::try_from(from.kind).unwrap_or(0),
            status: match from.status.code {
                code if code == StatusCode::Ok as i32 => Status::Ok,
                code if code == StatusCode::Error as i32 => Status::Error,
                _ => Status::Unset,
            },
            flags: from.flags,
            service: origin.service,
            operation: texts.number(&from.name),
            instance: origin.instance,
            host: origin.host,
            version: origin.version,
            peer: texts.number(peer),
            statement: texts.number(statement),
            trace_state: texts.number(&from.trace_state),
            status_message: texts.number(&from.status.message),
            resource: origin.resource,
            ..Span::default()
        };
        self.span(span, &attributes);
        self.links(from.span_id, from.parent_span_id, &from.links);
        for event in &from.events {
            self.event(from.span_id, origin.service, event);
        }
    }

    /// Adds an event of a span of the trace under way.
    pub fn event(&mut self, span: SpanId, service: Text, event: &Event) {
        let kind = event.attributes.iter().find(|attribute| attribute.key == "exception.type");
        let site = match kind.and_then(|attribute| attribute.value.as_str()) {
            Some(kind) => self.built.texts.number(&format!("{} {kind}", event.name)),
            None => self.built.texts.number(&event.name),
        };
        let time_ns = event.time_unix_nano;
        self.log(Some(span), Log { span: NO_SPAN, time_ns, service, severity: 0, site, source: LogSource::Event });
    }

    /// The number of what a log record's text is without what varies from record to record.
    pub fn site(&mut self, body: &str) -> Text {
        self.built.texts.number(&crate::logs::site(body))
    }

    fn log_entry(&mut self, entry: &LogEntry) {
        let service = entry.resource.service_name();
        let service = if service == UNKNOWN_SERVICE { Text::EMPTY } else { self.built.texts.number(service) };
        let site = self.site(entry.record.body.as_str().unwrap_or(&entry.record.event_name));
        let severity = u8::try_from(entry.record.severity_number).unwrap_or(0);
        let time_ns = entry.record.effective_time_unix_nano();
        let log = Log { span: NO_SPAN, time_ns, service, severity, site, source: LogSource::Record };
        self.log(entry.record.span_id, log);
    }
}

/// What a resource says, numbered once; see [`Builder::origin`].
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// For [`Span::service`].
    pub service: Text,
    /// For [`Span::instance`].
    pub instance: Text,
    /// For [`Span::host`].
    pub host: Text,
    /// For [`Span::version`].
    pub version: Text,
    /// For [`Span::resource`].
    pub resource: u32,
}

/// Of the spans that share an id, as many are considered for a log or a link.
const HALVES_MAX: usize = 64;

/// Takes out spans that are there twice; of those that differ in what they say about themselves the one that says most is
/// kept. Brings the spans into an order that does not depend on the one in which they came.
fn drop_repeated(spans: &mut Vec<Span>, attributes: &[Attribute], texts: &Texts) {
    let same = |span: &Span| {
        let names = (texts.get(span.service), texts.get(span.operation));
        (span.start_ns, span.end_ns, span.id, span.kind, span.parent_id, names)
    };
    let of = |span: &Span| &attributes[span.attributes_first as usize..][..span.attributes_count as usize];
    let said = |span: &Span| {
        let texts =
            [span.instance, span.host, span.version, span.trace_state, span.status_message].map(|t| texts.get(t));
        (Reverse(span.attributes_count), Reverse(span.status as u8), span.flags, texts)
    };
    let shown = |span: &Span| -> Vec<(&str, String)> {
        of(span).iter().map(|one| (texts.get(one.key), one.value.traceql(texts).to_string())).collect()
    };
    spans.sort_by(|one, other| {
        let told_apart = || said(one).cmp(&said(other)).then_with(|| shown(one).cmp(&shown(other)));
        same(one).cmp(&same(other)).then_with(told_apart)
    });
    spans.dedup_by(|other, one| same(one) == same(other));
}
