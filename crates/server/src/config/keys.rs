//! The table of settings: one row for everything that can be set.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracewell_ingest::OtherSignals;

use super::{Config, Http, Log, LogFiles, LogFormat, Otlp, QueryLimits, Retention, StoreLimits, units};

/// A value as it was written: text (numbers and truth values too), or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    List(Vec<String>),
}

impl Raw {
    fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        read(self.text()?)
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::List(_) => Err("is a list; write one value".to_owned()),
        }
    }

    /// The items of a list; a text is split at commas, as environment variables and flags need it.
    fn list(&self) -> Vec<String> {
        match self {
            Raw::List(items) => items.clone(),
            Raw::Text(text) => {
                text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
            }
        }
    }

    /// As it stands in a TOML file.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Raw::Text(text) if text.parse::<i64>().is_ok() => text.clone(),
            Raw::Text(text) => toml::Value::String(text.clone()).to_string(),
            Raw::List(items) => {
                let items: Vec<String> =
                    items.iter().map(|item| toml::Value::String(item.clone()).to_string()).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

/// One setting.
pub(super) struct Key {
    /// Its place in the file, sections separated by dots.
    pub(super) path: &'static str,
    /// What it is when nobody sets it; a list stands in brackets, its items separated by commas.
    pub(super) default: &'static str,
    /// What it does, in sentences; one line of the default file for each line.
    pub(super) doc: &'static str,
    apply: fn(&mut Config, &Raw) -> Result<(), String>,
}

impl Key {
    /// The environment variable that sets it.
    pub(super) fn environment(&self) -> String {
        format!("TRACEWELL_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// Section and name within it; the section is empty at the top of the file.
    pub(super) fn section(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or(("", self.path))
    }

    pub(super) fn default_value(&self) -> Raw {
        let text = Raw::Text(self.default.trim_start_matches('[').trim_end_matches(']').to_owned());
        if self.default.starts_with('[') { Raw::List(text.list()) } else { text }
    }

    pub(super) fn apply(&self, config: &mut Config, value: &Raw) -> Result<(), String> {
        (self.apply)(config, value)
    }
}

/// What each section is for, in the order of the file.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("", ""),
    ("http", "User interface and query APIs."),
    ("otlp", "Receivers for OTLP (traces and logs)."),
    ("store", "How much is held in memory before it is written out."),
    ("logfiles", "Log files whose lines become spans and log records (docs/logs.md)."),
    ("retention", "What is deleted when."),
    ("query", "What one query may use, so that no question can take the server down."),
    ("log", "The server's own log, on standard error."),
];

/// Every setting, section by section.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "data_dir",
        default: "./tracewell-data",
        doc: "Folder for everything that is kept. Created when missing; one server at a time.",
        apply: |config, value| {
            let text = value.text()?;
            if text.trim().is_empty() {
                return Err("is empty; name a folder".to_owned());
            }
            config.data_dir = PathBuf::from(text);
            Ok(())
        },
    },
    Key {
        path: "http.listen",
        default: "127.0.0.1:3200",
        doc: "Address and port. Port 0 picks a free one; the ready line says which.\n\
              The default is reachable from this machine only. There is no login: put a proxy with one in front\n\
              before you listen on 0.0.0.0.",
        apply: |config, value| store(&mut config.http.listen, value.read(units::address)),
    },
    Key {
        path: "http.allowed_hosts",
        default: "[]",
        doc: "While the server listens on loopback it answers only requests for localhost, 127.0.0.1 and [::1], so that\n\
              no web page can reach it through a name of its own (DNS rebinding). Add the names by which a proxy or\n\
              a port forwarding addresses it, or \"*\" for any.",
        apply: |config, value| store(&mut config.http.allowed_hosts, Ok(value.list())),
    },
    Key {
        path: "http.allowed_origins",
        default: "[]",
        doc: "Origins of other web pages that may read the APIs (CORS), such as \"https://grafana.example.com\"; \"*\" for any.",
        apply: |config, value| store(&mut config.http.allowed_origins, origins(value)),
    },
    Key {
        path: "http.connections_max",
        default: "1024",
        doc: "Connections at one time; further ones wait.",
        apply: |config, value| {
            store(&mut config.http.connections_max, value.read(|text| units::count(text, 1..=1_000_000)))
        },
    },
    Key {
        path: "otlp.grpc_listen",
        default: "127.0.0.1:4317",
        doc: "Address and port for OTLP/gRPC; \"off\" for none. Both ports answer both protocols.",
        apply: |config, value| store(&mut config.otlp.grpc_listen, value.read(units::optional_address)),
    },
    Key {
        path: "otlp.http_listen",
        default: "127.0.0.1:4318",
        doc: "Address and port for OTLP/HTTP (protobuf and JSON); \"off\" for none.",
        apply: |config, value| store(&mut config.otlp.http_listen, value.read(units::optional_address)),
    },
    Key {
        path: "otlp.allowed_origins",
        default: "[http://localhost:*, https://localhost:*, http://127.0.0.1:*, https://127.0.0.1:*]",
        doc: "Origins of web pages whose browsers may send spans (CORS). \"*\" within one stands for anything, alone for\n\
              every origin. The default is pages of this machine: a page elsewhere could write into your store.",
        apply: |config, value| store(&mut config.otlp.allowed_origins, origins(value)),
    },
    Key {
        path: "otlp.body_max",
        default: "64MiB",
        doc: "Largest request after decompression; larger ones are refused (413, RESOURCE_EXHAUSTED).",
        apply: |config, value| {
            store(&mut config.otlp.body_bytes_max, value.read(|text| size_in(text, 1 << 10, 1 << 30)))
        },
    },
    Key {
        path: "otlp.inflight_max",
        default: "128MiB",
        doc: "All requests that are being worked on, together; past it clients are asked to come back later.",
        apply: |config, value| {
            store(&mut config.otlp.inflight_bytes_max, value.read(|text| size_in(text, 1 << 20, 1 << 40)))
        },
    },
    Key {
        path: "otlp.connections_max",
        default: "4096",
        doc: "Connections at one time over both listeners; further ones are closed at once.",
        apply: |config, value| {
            store(&mut config.otlp.connections_max, value.read(|text| units::count(text, 1..=1_000_000)))
        },
    },
    Key {
        path: "otlp.other_signals",
        default: "refuse",
        doc: "What an exporter of metrics or profiles is told; neither is stored. refuse: an error that says how to turn\n\
              the exporter off; discard: success, and the data is thrown away.",
        apply: |config, value| {
            let choices = [("refuse", OtherSignals::Refuse), ("discard", OtherSignals::Discard)];
            store(&mut config.otlp.other_signals, value.read(|text| units::choice(text, &choices)))
        },
    },
    Key {
        path: "store.head_max",
        default: "128MiB",
        doc: "The newest spans lie in memory (and in the write-ahead log). At this size they are written to a segment.",
        apply: |config, value| {
            store(&mut config.store.head_bytes_max, value.read(|text| size_in(text, 1 << 20, 1 << 40)))
        },
    },
    Key {
        path: "store.head_age_max",
        default: "2m",
        doc: "At this age they are written to a segment, however few they are.",
        apply: |config, value| store(&mut config.store.head_age_max, value.read(|text| duration_in(text, 1, 86_400))),
    },
    Key {
        path: "store.memory_max",
        default: "256MiB",
        doc: "Memory of all spans that are not yet in a segment; past it senders wait, then are asked to come back later.",
        apply: |config, value| {
            store(&mut config.store.memory_bytes_max, value.read(|text| size_in(text, 8 << 20, 1 << 42)))
        },
    },
    Key {
        path: "store.cache_max",
        default: "128MiB",
        doc: "Memory for decoded pieces of segments, which makes repeated questions fast.",
        apply: |config, value| {
            store(&mut config.store.cache_bytes_max, value.read(|text| size_in(text, 1 << 20, 1 << 42)))
        },
    },
    Key {
        path: "store.disk_free_min",
        default: "256MiB",
        doc: "With less free disk than this, spans are refused with a clear error rather than half written.",
        apply: |config, value| store(&mut config.store.disk_free_bytes_min, value.read(units::size)),
    },
    Key {
        path: "logfiles.read",
        default: "[]",
        doc: "Files to follow, through rotation, each as \"PATH service=NAME format=NAME\": * and ? in the path stand for \
              anything;\nformat (last) is a name of `tracewell ingest-logs --help` or a pattern as nginx, Envoy or Apache \
              have it, and is told\nfrom the first lines when it is left out. Also zone=+02:00 and field=FIELD=KEY.",
        apply: |config, value| {
            let read: Result<Vec<_>, _> = value.list().iter().map(|item| super::logfiles::entry(item)).collect();
            store(&mut config.logfiles.read, read)
        },
    },
    Key {
        path: "logfiles.poll",
        default: "1s",
        doc: "How often they are looked at.",
        apply: |config, value| store(&mut config.logfiles.poll, value.read(|text| duration_in(text, 1, 3_600))),
    },
    Key {
        path: "logfiles.from",
        default: "start",
        doc: "Where a file begins that is seen for the first time: start, or end for what is written from now on.",
        apply: |config, value| {
            let places = [("start", false), ("end", true)];
            store(&mut config.logfiles.from_end, value.read(|text| units::choice(text, &places)))
        },
    },
    Key {
        path: "retention.age",
        default: "14d",
        doc: "Delete spans and logs that arrived longer ago than this; \"off\" keeps them for ever. What arrives late counts\n\
              from its arrival.",
        apply: |config, value| {
            let age = units::optional_duration(value.text()?)?;
            if age.is_some_and(|age| age < Duration::from_secs(60)) {
                return Err("is less than a minute; write for example 14d, or off".to_owned());
            }
            config.retention.age = age;
            Ok(())
        },
    },
    Key {
        path: "retention.size",
        default: "off",
        doc: "Delete the oldest when all segments together are larger than this, for example \"50GB\"; \"off\" keeps them.",
        apply: |config, value| store(&mut config.retention.size_bytes, value.read(units::optional_size)),
    },
    Key {
        path: "query.time_max",
        default: "30s",
        doc: "A query that takes longer ends with what it has found, and says so.",
        apply: |config, value| store(&mut config.query.time_max, value.read(|text| duration_in(text, 1, 3600))),
    },
    Key {
        path: "query.scan_max",
        default: "16GiB",
        doc: "Bytes of column values that one query may look at; past it, it ends as it does past its time.",
        apply: |config, value| {
            store(&mut config.query.scan_bytes_max, value.read(|text| size_in(text, 1 << 20, 1 << 44)))
        },
    },
    Key {
        path: "query.concurrency_max",
        default: "8",
        doc: "Queries that run at one time.",
        apply: |config, value| {
            store(&mut config.query.concurrency_max, value.read(|text| units::count(text, 1..=1024)))
        },
    },
    Key {
        path: "query.waiting_max",
        default: "64",
        doc: "Queries that may wait for their turn; further ones are refused (429).",
        apply: |config, value| store(&mut config.query.waiting_max, value.read(|text| units::count(text, 0..=100_000))),
    },
    Key {
        path: "log.level",
        default: "info",
        doc: "error, warn, info, debug or trace; or directives by module, such as \"info,tracewell_store=debug\".",
        apply: |config, value| store(&mut config.log.level, value.read(level)),
    },
    Key {
        path: "log.format",
        default: "text",
        doc: "text for people, json for one object a line.",
        apply: |config, value| {
            let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            store(&mut config.log.format, value.read(|text| units::choice(text, &formats)))
        },
    },
];

/// Sets a field to what was read, or leaves it as it is.
fn store<T>(field: &mut T, read: Result<T, String>) -> Result<(), String> {
    *field = read?;
    Ok(())
}

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

fn size_in(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let bytes = units::size(text)?;
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        let unit =
            |bytes: u64| if bytes >= 1 << 20 { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) };
        Err(format!("`{text}` is out of range; write a size from {} to {}", unit(least), unit(most)))
    }
}

fn duration_in(text: &str, least_s: u64, most_s: u64) -> Result<Duration, String> {
    let duration = units::duration(text)?;
    if (Duration::from_secs(least_s)..=Duration::from_secs(most_s)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("`{text}` is out of range; write a duration from {least_s}s to {most_s}s"))
    }
}

fn origins(value: &Raw) -> Result<Vec<String>, String> {
    let origins = value.list();
    for origin in &origins {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if origin != "*" && origin != "null" && host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            return Err(format!(
                "`{origin}` is not an origin; write scheme and host, for example https://example.com, or *"
            ));
        }
    }
    Ok(origins)
}

fn level(text: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        let by_module = directive.contains('=');
        if !levels.contains(&level.to_ascii_lowercase().as_str()) {
            let kind = if by_module { "level" } else { "level or directive" };
            return Err(format!(
                "`{level}` is not a {kind}; write error, warn, info, debug or trace, or info,module=debug"
            ));
        }
    }
    Ok(text.trim().to_owned())
}

/// The configuration that the table's defaults describe.
pub(super) fn defaults() -> Config {
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let mut config = Config {
        data_dir: PathBuf::new(),
        http: Http { listen: nowhere, allowed_hosts: Vec::new(), allowed_origins: Vec::new(), connections_max: 0 },
        otlp: Otlp {
            grpc_listen: None,
            http_listen: None,
            allowed_origins: Vec::new(),
            body_bytes_max: 0,
            inflight_bytes_max: 0,
            connections_max: 0,
            other_signals: OtherSignals::Refuse,
        },
        logfiles: LogFiles { read: Vec::new(), poll: Duration::ZERO, from_end: false },
        store: StoreLimits {
            head_bytes_max: 0,
            head_age_max: Duration::ZERO,
            memory_bytes_max: 0,
            cache_bytes_max: 0,
            disk_free_bytes_min: 0,
        },
        retention: Retention { age: None, size_bytes: None },
        query: QueryLimits { time_max: Duration::ZERO, scan_bytes_max: 0, concurrency_max: 0, waiting_max: 0 },
        log: Log { level: String::new(), format: LogFormat::Text },
    };
    for key in KEYS {
        let applied = key.apply(&mut config, &key.default_value());
        debug_assert_eq!(applied, Ok(()), "default of {}", key.path);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_every_key_is_in_a_known_section() {
        let config = defaults();
        assert_eq!(config.http.listen.port(), 3200);
        assert_eq!(config.query.time_max, Duration::from_secs(30));
        assert_eq!(config.retention.age, Some(Duration::from_secs(14 * 86_400)));
        for key in KEYS {
            assert_eq!(key.apply(&mut defaults(), &key.default_value()), Ok(()), "{}", key.path);
            assert!(SECTIONS.iter().any(|(section, _)| *section == key.section().0), "{}", key.path);
        }
    }
}
