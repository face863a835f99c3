//! The cases: start a program, end it, look at what arrived.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tracewell_model::{SpanKind, SpanRecord, StatusCode};

use crate::programs::SPANS;
use crate::receiver::{Receiver, Step};

/// How long a program may take to end; generous, because machines that build are slow.
const END_TIME_MAX: Duration = Duration::from_secs(60);

type Case = (&'static str, fn());

pub const ALL: &[Case] = &[
    ("a_signal_ends_the_process_as_always_and_loses_nothing", signals),
    ("a_signal_inside_a_runtime_of_one_thread", signal_in_a_runtime),
    ("the_application_decides_about_a_signal_it_handles", signal_of_the_application),
    ("a_second_signal_does_not_wait", second_signal),
    ("an_ignored_signal_stays_ignored", ignored_signal),
    ("a_panic_in_main_is_recorded_and_sent", panic_in_main),
    ("a_panic_without_a_guard_loses_nothing", panic_without_guard),
    ("a_panic_in_a_task_is_an_error_of_its_span", panic_in_a_task),
    ("a_panic_is_recorded_whatever_the_filter_says", panic_behind_a_filter),
    ("a_panic_while_panicking_loses_nothing", panic_while_panicking),
    ("abort_and_exit_lose_nothing", abort_and_exit),
    ("flushing_and_dropping_on_the_only_thread", one_thread),
    ("a_dead_server_holds_up_the_end_only_so_long", dead_server),
    ("a_child_process_goes_on_with_the_trace", child_process),
    ("lines_carry_the_ids_of_their_trace", text_lines),
    ("every_line_is_one_json_object", json_lines),
    ("what_the_program_says_wins_over_the_environment", builder),
    ("the_api_of_opentelemetry_joins_the_trace", bridge),
    ("switched_off_it_passes_on_what_it_got", switched_off),
];

/// What a program left behind.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Whether this process was started with a signal ignored that the cases send, as `nohup` and shells in the background
/// do: what it starts inherits that.
fn ignores_signals() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].iter().any(|signal| mask >> (signal.as_raw() - 1) & 1 == 1)
}

struct Program {
    command: Command,
}

impl Program {
    fn new(name: &str, receiver: &Receiver) -> Self {
        let executable = std::env::current_exe().unwrap();
        let mut command = Command::new(&executable);
        if ignores_signals() {
            command = Command::new("/usr/bin/env");
            command.arg("--default-signal=TERM,INT,HUP,QUIT").arg(executable);
        }
        command.env_clear();
        command.env(crate::PROGRAM, name);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.address));
        command.env("OTEL_SERVICE_NAME", "program");
        // Nothing is sent by the clock: what arrives was sent by the end of the process.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000").env("OTEL_BLRP_SCHEDULE_DELAY", "3600000");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn end(self) -> Ended {
        self.end_by(&[])
    }

    /// Waits for its word and sends the signals, a little apart.
    fn end_by(mut self, signals: &[Signal]) -> Ended {
        let mut child = self.command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut text = String::new();
        if !signals.is_empty() {
            stdout.read_line(&mut text).unwrap();
            assert_eq!(text, "ready\n");
        }
        for signal in signals {
            kill_process(Pid::from_child(&child), *signal).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > END_TIME_MAX {
                child.kill().unwrap();
                panic!("it has not ended; its errors:\n{}", errors.join().unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stdout.read_to_string(&mut text).unwrap();
        Ended { status, stdout: text, stderr: errors.join().unwrap() }
    }
}

fn named<'a>(spans: &'a [SpanRecord], name: &str) -> Vec<&'a SpanRecord> {
    spans.iter().filter(|record| record.span.name == name).collect()
}

/// Runs a program that needs no signal; all of its spans arrive.
fn complete(name: &str) -> (Ended, Vec<SpanRecord>) {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new(name, &receiver).end();
    let spans = receiver.spans();
    assert_eq!(named(&spans, "work").len(), SPANS, "{name}: {}", ended.stderr);
    assert_eq!(receiver.logs().iter().filter(|entry| entry.record.body.as_str() == Some("done")).count(), SPANS);
    (ended, spans)
}

fn exception(record: &SpanRecord) -> (Option<&str>, Option<&str>) {
    let event = record.span.events.iter().find(|event| event.name == "exception").expect("an exception event");
    let value = |key| event.attributes.iter().find(|attribute| attribute.key == key)?.value.as_str();
    assert!(value("exception.stacktrace").is_some_and(|trace| trace.contains("programs.rs:")), "{event:?}");
    (value("exception.type"), value("exception.message"))
}

fn signals() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let receiver = Receiver::start(vec![]);
        let ended = Program::new("signal", &receiver).end_by(&[signal]);
        assert_eq!(ended.status.signal(), Some(signal.as_raw()), "{signal:?}: {}", ended.stderr);
        assert_eq!(receiver.spans().len(), SPANS, "{signal:?}: {}", ended.stderr);
    }
}

fn signal_in_a_runtime() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("signal in a runtime", &receiver).end_by(&[Signal::TERM]);
    assert_eq!(ended.status.signal(), Some(Signal::TERM.as_raw()), "{}", ended.stderr);
    assert_eq!(receiver.spans().len(), SPANS);
}

fn signal_of_the_application() {
    for program in ["signal of the application", "signal handled before"] {
        let receiver = Receiver::start(vec![]);
        let ended = Program::new(program, &receiver).end_by(&[Signal::TERM, Signal::TERM]);
        assert!(ended.status.success(), "{program}: {:?} {}", ended.status, ended.stderr);
        assert!(ended.stdout.contains("ended by itself"), "{program}: {}", ended.stdout);
        assert_eq!(receiver.spans().len(), SPANS, "{program}: spans after the signal count too");
    }
}

fn second_signal() {
    let receiver = Receiver::start(vec![Step::Silence]);
    let begin = Instant::now();
    let ended = Program::new("signal", &receiver).end_by(&[Signal::INT, Signal::INT]);
    assert_eq!(ended.status.signal(), Some(Signal::INT.as_raw()));
    // The first one's flush would have gone on for five seconds.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

fn ignored_signal() {
    let receiver = Receiver::start(vec![]);
    let mut program = Program::new("signal", &receiver);
    // The shell ignores the signal, and what it starts inherits that.
    let executable = std::env::current_exe().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$0\""]).arg(executable).env_clear();
    for (name, value) in program.command.get_envs() {
        command.env(name, value.unwrap());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program.command = command;
    let ended = program.end_by(&[Signal::HUP, Signal::TERM]);
    assert_eq!(ended.status.signal(), Some(Signal::TERM.as_raw()), "{}", ended.stderr);
    assert_eq!(receiver.spans().len(), SPANS);
}

fn panic_in_main() {
    let (ended, spans) = complete("panic in main");
    assert_eq!(ended.status.code(), Some(101));
    assert!(ended.stderr.contains("thread 'main'"), "the hook before ours is called: {}", ended.stderr);
    let open = named(&spans, "open")[0];
    assert_eq!(exception(open), (Some("panic"), Some("nothing works")));
    assert_eq!((open.span.status.code, open.span.status.message.as_str()), (StatusCode::Error as i32, "nothing works"));
    assert_eq!(open.span.attribute("error.type").and_then(|value| value.as_str()), Some("panic"));
}

fn panic_without_guard() {
    let (ended, _) = complete("panic without a guard");
    assert_eq!(ended.status.code(), Some(101));
}

fn panic_in_a_task() {
    let (ended, spans) = complete("panic in a task");
    assert!(ended.status.success());
    assert_eq!(exception(named(&spans, "task")[0]), (Some("panic"), Some("only this one: 7")));
}

fn panic_behind_a_filter() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("panic behind a filter", &receiver).end();
    assert!(!ended.stderr.contains("tracewell_sdk::panic"), "{}", ended.stderr);
    let spans = receiver.spans();
    assert_eq!(exception(named(&spans, "quiet")[0]), (Some("panic"), Some("unseen")));
}

fn panic_while_panicking() {
    let (ended, spans) = complete("panic while panicking");
    assert_eq!(ended.status.signal(), Some(6), "{:?}", ended.status);
    assert_eq!(named(&spans, "open").len(), 1, "what is open when everything ends ends too");
}

fn abort_and_exit() {
    let (ended, _) = complete("abort");
    assert_eq!(ended.status.signal(), Some(6), "{:?}", ended.status);
    for program in ["exit", "exit in a task"] {
        let (ended, _) = complete(program);
        assert_eq!(ended.status.code(), Some(7), "{program}");
    }
}

fn one_thread() {
    for program in ["flush in a task", "drop in a task"] {
        let (ended, _) = complete(program);
        assert!(ended.status.success(), "{program}: {}", ended.stderr);
    }
}

fn dead_server() {
    let receiver = Receiver::start(vec![Step::Silence]);
    let begin = Instant::now();
    let ended = Program::new("exit", &receiver).end();
    assert_eq!(ended.status.code(), Some(7));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

/// The words after `trace` and `span` in what a program printed.
fn printed_ids(ended: &Ended) -> (String, String) {
    let words: Vec<&str> = ended.stdout.split_whitespace().collect();
    (words[1].to_owned(), words[3].to_owned())
}

fn child_process() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("parent", &receiver).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let (trace, parent) = printed_ids(&ended);
    let spans = receiver.spans();
    let child = named(&spans, "child")[0];
    assert_eq!(child.resource.service_name(), "child");
    assert_eq!(child.span.trace_id.to_string(), trace);
    assert_eq!(child.span.parent_span_id.unwrap().to_string(), parent);
    let of = |record: &SpanRecord, key: &str| {
        let value = record.resource.attributes.iter().find(|attribute| attribute.key == key).map(|it| it.value.clone());
        value.unwrap_or_else(|| panic!("no {key} in {:?}", record.resource))
    };
    let caller = named(&spans, "parent")[0];
    for key in ["service.instance.id", "process.pid"] {
        assert_ne!(of(child, key), of(caller, key), "{key}");
    }
    assert_eq!(of(child, "os.type").as_str(), Some(if cfg!(target_os = "linux") { "linux" } else { "darwin" }));
    assert_eq!(named(&spans, "grandchild")[0].span.parent_span_id, Some(child.span.span_id));
    let own = &named(&spans, "request of its own")[0].span;
    assert!(own.trace_id.to_string() != trace && own.parent_span_id.is_none(), "a root on purpose stays one");
}

fn text_lines() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("lines", &receiver).env("NO_COLOR", "1").end();
    let (trace, span) = printed_ids(&ended);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    let ids = format!(" trace_id={trace} span_id={span}");
    assert!(lines.iter().all(|line| line.ends_with(&ids)), "{lines:#?}");
    assert!(lines[0].contains(r#" INFO request{route="/cart" user="a\"b\nc"}: process::programs: two\nlines items=3"#));
    assert!(lines[1].contains(" WARN ") && lines[1].contains("old::library: through the log crate"), "{}", lines[1]);
    assert!(lines[2].contains(r#"failed error="disk""#), "{}", lines[2]);
    let logs = receiver.logs();
    let old = logs.iter().find(|entry| entry.record.body.as_str() == Some("through the log crate")).unwrap();
    assert_eq!(old.record.trace_id.unwrap().to_string(), trace);
    let target = old.record.attributes.iter().find(|attribute| attribute.key == "target").unwrap();
    assert_eq!(target.value.as_str(), Some("old::library"));
}

fn json_lines() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("lines", &receiver).env("TRACEWELL_LOG_FORMAT", "json").end();
    let (trace, span) = printed_ids(&ended);
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    for line in &lines {
        assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(&*trace), Some(&*span)));
        assert_eq!(line["trace_flags"].as_str(), Some("03"), "sampled, random");
        assert_eq!(line["spans"][0]["fields"]["user"].as_str(), Some("a\"b\nc"));
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
    assert_eq!(lines[0]["message"], "two\nlines");
    assert_eq!((lines[0]["level"].as_str(), lines[0]["target"].as_str()), (Some("INFO"), Some("process::programs")));
    assert_eq!(lines[0]["fields"], serde_json::json!({"items": 3, "share": "NaN"}));
    assert_eq!(lines[1]["target"], "old::library");
    assert_eq!(lines[2]["fields"]["error"], "disk");
}

fn switched_off() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("nothing", &receiver).env("OTEL_SDK_DISABLED", "true").end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stdout.contains("headers 0"), "nobody below learns of a trace that is not there: {}", ended.stdout);
    let passed = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert!(ended.stdout.contains(passed), "{}", ended.stdout);
    assert_eq!(receiver.connections(), 0);
}

fn bridge() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("bridge", &receiver).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let spans = receiver.spans();
    let span = |name: &str| &named(&spans, name).first().unwrap_or_else(|| panic!("no {name:?} in {spans:#?}")).span;
    let below = [
        ("of the api", "outer"),
        ("inner", "of the api"),
        ("innermost", "inner"),
        ("second", "of the api"),
        ("after", "outer"),
        ("handler", "served"),
        ("below alone", "alone"),
    ];
    for (child, parent) in below {
        assert_eq!(span(child).parent_span_id, Some(span(parent).span_id), "{child} is below {parent}");
        assert_eq!(span(child).trace_id, span(parent).trace_id, "{child}");
    }
    assert!(span("outer").parent_span_id.is_none() && span("alone").parent_span_id.is_none());
    let api = span("of the api");
    assert!(ended.stdout.contains(&format!("header 00-{}-{}-03", api.trace_id, api.span_id)), "{}", ended.stdout);
    assert_eq!((api.status.code, api.status.message.as_str()), (StatusCode::Error as i32, "slow"));
    assert_eq!((api.kind, api.events[0].name.as_str()), (SpanKind::Client as i32, "sent"));
    assert_eq!(api.attribute("otel.scope.name").and_then(|value| value.as_str()), Some("library"));
    let logs = receiver.logs();
    for (text, name) in [("deep", "innermost"), ("lonely", "alone")] {
        let entry = logs.iter().find(|entry| entry.record.body.as_str() == Some(text)).unwrap();
        assert_eq!(entry.record.span_id, Some(span(name).span_id), "{text}");
        let line = ended.stderr.lines().find(|line| line.contains(text)).unwrap();
        assert!(line.ends_with(&format!("span_id={}", span(name).span_id)), "{line}");
    }
    let served = span("served");
    assert_eq!(served.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(served.parent_span_id.unwrap().to_string(), "00f067aa0ba902b7");
    assert!(spans.iter().all(|record| record.span.end_unix_nano >= record.span.start_unix_nano));
}

fn builder() {
    let receiver = Receiver::start(vec![]);
    let ended = Program::new("builder", &receiver).env("RUST_LOG", "off").env("OTEL_TRACES_SAMPLER", "always_on").end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("again another global subscriber is in place: call `init` before"),
        "{}",
        ended.stdout
    );
    assert_eq!(receiver.spans().len(), 0);
    let logs = receiver.logs();
    assert_eq!(logs.len(), 2, "{logs:#?}");
    assert_eq!(logs[0].resource.service_name(), "built");
    assert!(logs[0].resource.attributes.iter().any(|it| it.key == "service.version" && it.value.as_str() == Some("2")));
}
