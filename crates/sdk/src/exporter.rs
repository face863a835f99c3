//! The exporter thread: batches, sends, retries, counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::{Answer, Body, Client};
use crate::clock;
use crate::config::{Destination, Signal};
use crate::diagnostics;
use crate::id;
use crate::proto;
use crate::queue::{Shared, SignalStats, Source};
use crate::target::Target;

/// The first pause before a retry; each further one is twice as long, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// The longest pause between two attempts, unless the receiver asks for a longer one.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The longest pause that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Longest time to wait for a sampling strategy: spans wait to be sent meanwhile.
const SAMPLING_TIMEOUT: Duration = Duration::from_secs(2);

/// Problems are told at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The server is told of problems in the application's instrumentation at most this often.
const DIAGNOSTICS_EVERY: Duration = Duration::from_secs(10);

/// Receives one sentence about a problem with exporting.
pub(crate) type Report = Box<dyn Fn(&str) + Send>;

/// Records of one source that wait to be put into a request.
struct Pending {
    source: Arc<Source>,
    records: Vec<u8>,
    /// Bytes already sent.
    at: usize,
}

/// One request.
struct Batch {
    body: Vec<u8>,
    records: usize,
    bytes: usize,
}

pub(crate) struct Exporter {
    shared: Arc<Shared>,
    clients: [Client; 2],
    targets: [Option<Target>; 2],
    report: Report,
    reported: Option<Instant>,
    diagnosed: Option<Instant>,
    /// The losses that were counted as problems so far.
    lost: [SignalStats; 2],
    pending: [VecDeque<Pending>; 2],
    scope: Vec<u8>,
}

/// Tells everyone who waits that the thread is gone, however it ends.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

impl Exporter {
    pub(crate) fn new(shared: Arc<Shared>, report: Report) -> Self {
        let mut scope = Vec::new();
        proto::message(&mut scope, 1, |buffer| {
            proto::bytes(buffer, 1, env!("CARGO_PKG_NAME").as_bytes());
            proto::bytes(buffer, 2, env!("CARGO_PKG_VERSION").as_bytes());
        });
        let made = Signal::ALL.map(|signal| Client::new(shared.config.destination(signal)));
        for problem in made.iter().filter_map(|(_, problem)| problem.as_ref()) {
            report(problem);
        }
        let targets = Signal::ALL.map(|signal| shared.config.destination(signal).url.as_deref().map(Target::new));
        Self {
            shared,
            clients: made.map(|(client, _)| client),
            targets,
            report,
            reported: None,
            diagnosed: None,
            lost: Default::default(),
            pending: Default::default(),
            scope,
        }
    }

    /// Runs until shutdown is asked for.
    pub(crate) fn run(mut self) {
        let _stopped = Stopped(Arc::clone(&self.shared));
        // Nothing that happens on this thread may become telemetry.
        // `none` is no subscriber that a callsite would ask: one that says never would cost every span a look.
        tracing::dispatcher::with_default(&tracing::Dispatch::none(), || self.run_quietly());
    }

    fn run_quietly(&mut self) {
        let mut due = Signal::ALL.map(|signal| Instant::now() + self.delay(signal));
        let mut flushed = 0;
        loop {
            clock::adjust();
            let refresh = self.refresh_samplers();
            let woken = self.shared.sleep(due[0].min(due[1]).min(refresh));
            let flushes = self.shared.flushes_asked();
            let ending = self.shared.deadline().is_some();
            for signal in Signal::ALL {
                let all = ending || flushes > flushed || due[signal as usize] <= Instant::now();
                if all || woken {
                    self.export(signal, all);
                }
                if all {
                    due[signal as usize] = Instant::now() + self.delay(signal);
                }
            }
            self.diagnose(ending || flushes > flushed);
            flushed = flushes;
            self.shared.flushed(flushes);
            if ending {
                return;
            }
        }
    }

    /// Asks the servers that samplers follow, where it is time to; returns when that will be again.
    fn refresh_samplers(&mut self) -> Instant {
        let mut next = Instant::now() + REPORT_EVERY;
        for source in self.shared.sources() {
            for remote in source.policy().remotes() {
                if let Err(problem) = remote.refresh(|url| self.clients[0].get(url, SAMPLING_TIMEOUT)) {
                    diagnostics::count("sampler", "its server gave no strategy");
                    self.tell(&problem);
                }
                next = next.min(remote.due());
            }
        }
        next
    }

    fn delay(&self, signal: Signal) -> Duration {
        self.shared.config.destination(signal).delay
    }

    /// Sends what is queued: everything, or whole batches only.
    fn export(&mut self, signal: Signal, all: bool) {
        let max = self.shared.config.destination(signal).batch_records_max;
        let queued = || self.shared.counters[signal as usize].queued_records.load(Ordering::Relaxed);
        // Records that arrive while this runs are for the next round, else a flush might never end.
        let mut rest = queued();
        while rest > 0 && (all || rest >= max) {
            self.collect(signal);
            let Some(batch) = self.next_batch(signal, max) else { return };
            rest = rest.saturating_sub(batch.records);
            self.send(signal, &batch);
            self.shared.release(signal, batch.records, batch.bytes);
        }
    }

    fn collect(&mut self, signal: Signal) {
        for source in self.shared.sources() {
            let taken = source.take(signal, &self.shared.counters[signal as usize]);
            let pending = taken.into_iter().map(|records| Pending { source: Arc::clone(&source), records, at: 0 });
            self.pending[signal as usize].extend(pending);
        }
    }

    /// Builds a request of at most `max` records: one `ResourceSpans` or `ResourceLogs` for each source.
    fn next_batch(&mut self, signal: Signal, max: usize) -> Option<Batch> {
        let mut batch = Batch { body: Vec::new(), records: 0, bytes: 0 };
        while batch.records < max
            && let Some(pending) = self.pending[signal as usize].front_mut()
        {
            let mut rest = pending.records.get(pending.at..).unwrap_or_default();
            let before = rest;
            while batch.records < max
                && let Some(field) = proto::next_field(&mut rest)
            {
                batch.records += 1;
                batch.bytes += field.content.len();
            }
            let taken = before.get(..before.len() - rest.len()).unwrap_or_default();
            let (source, scope) = (&pending.source, &self.scope);
            proto::message(&mut batch.body, 1, |buffer| {
                buffer.extend_from_slice(&source.resource);
                proto::message(buffer, 2, |buffer| {
                    buffer.extend_from_slice(scope);
                    buffer.extend_from_slice(taken);
                });
            });
            pending.at += taken.len();
            if (rest.is_empty() || taken.is_empty())
                && let Some(done) = self.pending[signal as usize].pop_front()
            {
                done.source.give_back(done.records);
            }
        }
        (batch.records > 0).then_some(batch)
    }

    /// Sends one request, again and again where that may help, until it is accepted or given up.
    fn send(&mut self, signal: Signal, batch: &Batch) {
        let to = self.shared.config.destination(signal).clone();
        if to.url.is_none() {
            return;
        }
        let counters = Arc::clone(&self.shared);
        let counters = &counters.counters[signal as usize];
        let records = batch.records as u64;
        let body = Client::prepare(&batch.body, to.gzip);
        let give_up = Instant::now() + self.shared.config.retry_for;
        let mut backoff = BACKOFF_MIN;
        loop {
            let left = |until: Instant| until.saturating_duration_since(Instant::now());
            let timeout = self.shared.deadline().map_or(to.timeout, |deadline| to.timeout.min(left(deadline)));
            let answer = self.post(signal, &to, &body, timeout);
            let url = self.targets[signal as usize].as_ref().map_or("", |target| &target.url).to_owned();
            let (why, retry_after) = match answer {
                Answer::Accepted { rejected, message } => {
                    let rejected = rejected.min(records);
                    counters.exported.fetch_add(records - rejected, Ordering::Relaxed);
                    counters.rejected.fetch_add(rejected, Ordering::Relaxed);
                    if rejected > 0 || !message.is_empty() {
                        self.tell(&format!("{url} rejected {rejected} of {records} records: {message}"));
                    }
                    return;
                }
                Answer::Refused { why } => {
                    counters.failed.fetch_add(records, Ordering::Relaxed);
                    self.tell(&format!("{url} refused {records} records, which are lost: {why}"));
                    return;
                }
                Answer::Later { why, retry_after } => (why, retry_after),
            };
            let pause = match retry_after {
                Some(asked) => asked.min(RETRY_AFTER_MAX).max(BACKOFF_MIN / 5),
                None => jittered(backoff),
            };
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let resume = Instant::now() + pause;
            let last = self.shared.deadline().map_or(give_up, |deadline| deadline.min(give_up));
            if resume >= last || !self.pause(resume, last) {
                counters.failed.fetch_add(records, Ordering::Relaxed);
                self.tell(&format!("{url} cannot be reached, {records} records are lost: {why}"));
                return;
            }
            counters.retries.fetch_add(1, Ordering::Relaxed);
            self.tell(&format!("{url} is not available, trying again: {why}"));
        }
    }

    /// One attempt, at the URL that was given or at the one that was meant.
    fn post(&mut self, signal: Signal, to: &Destination, body: &Body<'_>, timeout: Duration) -> Answer {
        let client = &self.clients[signal as usize];
        let Some(target) = &mut self.targets[signal as usize] else {
            return Answer::Refused { why: "there is no destination".to_owned() };
        };
        let answer = client.post(&target.url, &to.headers, body, timeout);
        if let Answer::Accepted { .. } = answer {
            target.proven();
        } else if let Some(neighbour) = &target.neighbour
            && let taken @ Answer::Accepted { .. } = client.post(neighbour, &to.headers, body, timeout)
        {
            let given = target.turn();
            let now = target.url.clone();
            self.tell(&format!("{given} does not take OTLP over HTTP, {now} does and is used from now on"));
            return taken;
        }
        answer
    }

    /// Tells the server what [`diagnostics`] counted; at once where nobody will wait for the next time.
    fn diagnose(&mut self, now: bool) {
        let to = self.shared.config.logs.clone();
        let due = self.diagnosed.is_none_or(|at| at.elapsed() >= DIAGNOSTICS_EVERY);
        if to.url.is_none() || !(due || now) {
            return;
        }
        for signal in Signal::ALL {
            let stats = self.shared.stats(signal);
            let before = std::mem::replace(&mut self.lost[signal as usize], stats);
            let kind = ["spans", "log records"][signal as usize];
            diagnostics::add(kind, "dropped, because the queue was full", stats.dropped - before.dropped);
            diagnostics::add(kind, "given up, because the receiver took none", stats.failed - before.failed);
            diagnostics::add(kind, "refused one by one by the receiver", stats.rejected - before.rejected);
        }
        let problems = diagnostics::take();
        if problems.is_empty() {
            return;
        }
        self.diagnosed = Some(Instant::now());
        let resource = match self.shared.sources().as_slice() {
            [only] => only.resource.clone(),
            _ => self.shared.config.resource.encode(),
        };
        let request = diagnostics::encode(&resource, &problems);
        let body = Client::prepare(&request, to.gzip);
        let left = self.shared.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = to.timeout.min(left.unwrap_or(to.timeout));
        // One attempt: the next report brings what this one could not, and losses of reports are no problems.
        if let Answer::Later { .. } = self.post(Signal::Logs, &to, &body, timeout) {
            diagnostics::give_back(&problems);
        }
    }

    /// Waits before a retry; false when a shutdown that was asked for meanwhile leaves no time for it.
    fn pause(&self, resume: Instant, last: Instant) -> bool {
        // Being woken by new records must not shorten the pause.
        while self.shared.sleep(resume.min(last)) {
            if self.shared.deadline().is_some_and(|deadline| resume >= deadline) {
                return false;
            }
        }
        true
    }

    fn tell(&mut self, problem: &str) {
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            (self.report)(problem);
        }
    }
}

/// Between half and all of `pause`, so that clients that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let share = (id::random() >> 40) as f64 / (1u64 << 24) as f64;
    pause.mul_f64(0.5 + share / 2.0)
}
