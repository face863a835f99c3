//! Log files that the server follows, each one text: `PATH [service=NAME] [zone=OFFSET] [field=FIELD=KEY] [format=…]`.

use std::path::PathBuf;

use tracewell_ingest::tail::Log;
use tracewell_wire::accesslog::{Format, Options, time};

/// Reads one entry. `format=` stands last, so that a pattern needs no quotes of its own.
pub(super) fn entry(text: &str) -> Result<Log, String> {
    let wrong = |what: String| format!("`{text}`: {what}; write PATH service=NAME format=NAME-OR-PATTERN");
    let (head, format) = match text.split_once(" format=") {
        Some((head, format)) => (head, Some(Format::named(format.trim()).map_err(|error| wrong(error.to_string()))?)),
        None => (text, None),
    };
    let mut words = head.split_whitespace();
    let path = words.next().filter(|path| !path.contains('=')).ok_or_else(|| wrong("names no path".to_owned()))?;
    let mut log = Log { path: PathBuf::from(path), format, options: Options::default() };
    let mut named = false;
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| wrong(format!("`{word}` is not NAME=VALUE")))?;
        match name {
            "service" => {
                log.options.service = value.to_owned();
                named = true;
            }
            "zone" => {
                log.options.zone_s = time::parse_zone(value).ok_or_else(|| wrong(format!("`{value}` is no offset")))?;
            }
            "field" => {
                let known = log.format.take().map_or_else(|| Format::named("json"), Ok);
                let mut format = known.map_err(|error| wrong(error.to_string()))?;
                format.map(value).map_err(|error| wrong(error.to_string()))?;
                log.format = Some(format);
            }
            _ => return Err(wrong(format!("`{name}` is none of service, zone, field, format"))),
        }
    }
    if !named {
        let program = log.format.as_ref().map_or("", |format| format.name()).split('-').next().unwrap_or_default();
        let stem = log.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default().replace(['*', '?'], "");
        log.options.service = match program {
            "nginx" | "envoy" | "apache" | "caddy" | "traefik" | "haproxy" => program.to_owned(),
            _ if stem.is_empty() => "access-log".to_owned(),
            _ => stem,
        };
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_path_and_what_is_known_of_its_lines() {
        let log = entry("/var/log/nginx/access*.log").unwrap();
        assert_eq!((log.options.service.as_str(), log.format.is_none()), ("access", true));
        let log = entry("/a.log zone=+02:00 format=nginx-tracewell").unwrap();
        assert_eq!((log.options.service.as_str(), log.options.zone_s), ("nginx", 7200));
        let log = entry("/a.log service=edge format=$remote_addr [$time_local] $status, $request_time").unwrap();
        assert_eq!((log.options.service.as_str(), log.format.unwrap().name()), ("edge", "own pattern"));
        assert!(entry("/a.log field=trace=ctx.id").unwrap().format.is_some());
        for wrong in ["", "service=x", "/a x", "/a zone=there", "/a format=ngnix", "/a colour=red", "/a field=x"] {
            assert!(entry(wrong).is_err(), "{wrong}");
        }
    }
}
