//! The environment of the program: what is added, and what the user has set and is left alone.

use std::collections::BTreeMap;

/// What the environment is made from.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--service`, which wins over everything but is not there by default.
    pub service_flag: Option<String>,
    /// The service's name from the program's.
    pub service_guess: String,
    /// Where OTLP over HTTP goes; `None` when no server answers.
    pub endpoint: Option<String>,
    /// True when `endpoint` was named by a flag, which wins over the environment.
    pub endpoint_flag: bool,
    /// What marks every span and log of this run (`tracewell.run.id`).
    pub run_id: String,
    /// What the runtime's own instrumentation needs.
    pub agent: Vec<Addition>,
}

/// A variable that an instrumentation needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addition {
    /// Set it; what the user has set stays.
    Set(&'static str, String),
    /// Ours alone; nobody else has a use for it.
    Own(&'static str, String),
    /// Put in front of what is there, with a separator.
    Prepend(&'static str, String, char),
    /// Put behind what is there, with a separator.
    Append(&'static str, String, char),
}

/// What becomes of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Variables to set, in this order.
    pub set: Vec<(String, String)>,
    /// Variables that the user has set to something else, and that stay.
    pub kept: Vec<(String, String)>,
}

impl Plan {
    /// The value that the program will see.
    pub fn value<'a>(&'a self, name: &str) -> Option<&'a str> {
        let ours = self.set.iter().find(|(set, _)| set == name);
        ours.or_else(|| self.kept.iter().find(|(kept, _)| kept == name)).map(|(_, value)| value.as_str())
    }
}

/// How long spans wait in the program before they are sent, in milliseconds; the default of five seconds would lose more
/// when the program is killed.
const DELAY_MS: &str = "500";

/// Attributes of the run itself.
pub const RUN_ID: &str = "tracewell.run.id";

/// Decides, from what is set now and what is wanted.
pub fn plan(now: &BTreeMap<String, String>, wanted: &Wanted) -> Plan {
    let mut plan = Plan::default();
    let set_now = |name: &str| now.get(name).filter(|value| !value.trim().is_empty());
    let default = |plan: &mut Plan, name: &str, value: &str| match set_now(name) {
        Some(kept) if kept != value => plan.kept.push((name.to_owned(), kept.clone())),
        Some(_) => {}
        None => plan.set.push((name.to_owned(), value.to_owned())),
    };

    let attributes = set_now("OTEL_RESOURCE_ATTRIBUTES").cloned().unwrap_or_default();
    let named_there = attributes.split(',').any(|pair| pair.trim_start().starts_with("service.name="));
    match &wanted.service_flag {
        Some(name) => plan.set.push(("OTEL_SERVICE_NAME".to_owned(), name.clone())),
        // The variable wins over the attribute, so that setting it would override the user's choice.
        None if named_there && set_now("OTEL_SERVICE_NAME").is_none() => {}
        None => default(&mut plan, "OTEL_SERVICE_NAME", &wanted.service_guess),
    }
    if let Some(endpoint) = &wanted.endpoint {
        if wanted.endpoint_flag {
            plan.set.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.clone()));
        } else {
            default(&mut plan, "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        }
        // A protocol belongs to the address: where that is the user's, the protocol is too.
        if plan.kept.iter().all(|(name, _)| name != "OTEL_EXPORTER_OTLP_ENDPOINT") {
            default(&mut plan, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        } else if let Some(protocol) = set_now("OTEL_EXPORTER_OTLP_PROTOCOL") {
            plan.kept.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), protocol.clone()));
        }
    }
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_PROPAGATORS", "tracecontext,baggage"),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database"),
        ("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS),
        ("OTEL_BLRP_SCHEDULE_DELAY", DELAY_MS),
    ] {
        default(&mut plan, name, value);
    }
    let separator = if attributes.is_empty() || attributes.trim_end().ends_with(',') { "" } else { "," };
    let marked = format!("{attributes}{separator}{RUN_ID}={}", wanted.run_id);
    plan.set.push(("OTEL_RESOURCE_ATTRIBUTES".to_owned(), marked));

    for addition in &wanted.agent {
        let joined = |name: &str, value: &str, separator: char, first: bool| match set_now(name) {
            // A run within a run adds nothing twice.
            Some(now) if now.contains(value) => now.clone(),
            Some(now) if first => format!("{value}{separator}{now}"),
            Some(now) => format!("{now}{separator}{value}"),
            None => value.to_owned(),
        };
        match addition {
            Addition::Set(name, value) => default(&mut plan, name, value),
            Addition::Own(name, value) => plan.set.push(((*name).to_owned(), value.clone())),
            Addition::Prepend(name, value, separator) => {
                plan.set.push(((*name).to_owned(), joined(name, value, *separator, true)));
            }
            Addition::Append(name, value, separator) => {
                plan.set.push(((*name).to_owned(), joined(name, value, *separator, false)));
            }
        }
    }
    plan
}

/// A word as a shell reads it.
pub fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            service_guess: "app".into(),
            endpoint: Some("http://127.0.0.1:4318".into()),
            run_id: "r1".into(),
            ..Wanted::default()
        }
    }

    fn planned(now: &[(&str, &str)], wanted: &Wanted) -> Plan {
        plan(&now.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), wanted)
    }

    #[test]
    fn an_empty_environment_gets_everything() {
        let plan = planned(&[], &wanted());
        for (name, value) in [
            ("OTEL_SERVICE_NAME", "app"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_RESOURCE_ATTRIBUTES", "tracewell.run.id=r1"),
        ] {
            assert_eq!(plan.value(name), Some(value), "{name}");
        }
        assert!(plan.kept.is_empty());
    }

    #[test]
    fn what_the_user_has_set_stays() {
        let now = [
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_PROPAGATORS", ""),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=shop"),
        ];
        let plan = planned(&now, &wanted());
        let kept: Vec<_> = plan.kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_METRICS_EXPORTER"]);
        assert_eq!(plan.value("OTEL_EXPORTER_OTLP_PROTOCOL"), None, "the protocol belongs to the user's address");
        assert_eq!(plan.value("OTEL_PROPAGATORS"), Some("tracecontext,baggage"), "an empty value is none");
        assert_eq!(plan.value("OTEL_RESOURCE_ATTRIBUTES"), Some("team=shop,tracewell.run.id=r1"));
    }

    #[test]
    fn flags_win_over_the_environment() {
        let now = [("OTEL_SERVICE_NAME", "mine"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")];
        let flags = Wanted { service_flag: Some("flag".into()), endpoint_flag: true, ..wanted() };
        let plan = planned(&now, &flags);
        assert_eq!(plan.value("OTEL_SERVICE_NAME"), Some("flag"));
        assert_eq!(plan.value("OTEL_EXPORTER_OTLP_ENDPOINT"), Some("http://127.0.0.1:4318"));
        assert_eq!(plan.value("OTEL_EXPORTER_OTLP_PROTOCOL"), Some("http/protobuf"));
    }

    #[test]
    fn a_name_among_the_resource_attributes_is_the_users_choice() {
        let plan = planned(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=mine")], &wanted());
        assert_eq!(plan.value("OTEL_SERVICE_NAME"), None);
    }

    #[test]
    fn lists_are_extended_once() {
        let agent = vec![
            Addition::Prepend("PYTHONPATH", "/ours".into(), ':'),
            Addition::Append("NODE_OPTIONS", "--require /ours.cjs".into(), ' '),
        ];
        let wanted = Wanted { agent, ..wanted() };
        let plan = planned(&[("PYTHONPATH", "/theirs"), ("NODE_OPTIONS", "--max-old-space-size=512")], &wanted);
        assert_eq!(plan.value("PYTHONPATH"), Some("/ours:/theirs"));
        assert_eq!(plan.value("NODE_OPTIONS"), Some("--max-old-space-size=512 --require /ours.cjs"));
        let again = planned(&[("PYTHONPATH", "/ours:/theirs")], &wanted);
        assert_eq!(again.value("PYTHONPATH"), Some("/ours:/theirs"));
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, quoted) in [("a=b", "a=b"), ("", "''"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("$x", "'$x'")] {
            assert_eq!(shell_quoted(word), quoted);
        }
    }
}
