//! What a process can find out about itself (OpenTelemetry semantic conventions 1.44, "Resource").
//!
//! The command line is left out: it is where secrets are.

use crate::{Resource, Value, id};

/// The resource with everything that is known and that it does not say already.
pub(super) fn complete(resource: Resource) -> Resource {
    detected().into_iter().fold(resource, |resource, (key, value)| {
        if resource.attributes().iter().any(|(known, _)| known == key) { resource } else { resource.with(key, value) }
    })
}

fn detected() -> Vec<(&'static str, Value)> {
    let mut found: Vec<(&'static str, Value)> = vec![
        ("service.instance.id", instance_id().into()),
        ("process.pid", i64::from(std::process::id()).into()),
        ("process.runtime.name", "rust".into()),
        ("os.type", os_type().into()),
        ("host.arch", host_arch().into()),
    ];
    if let Some(version) = option_env!("TRACEWELL_RUSTC_VERSION") {
        found.push(("process.runtime.version", version.into()));
    }
    if let Ok(path) = std::env::current_exe() {
        if let Some(name) = path.file_name() {
            found.push(("process.executable.name", name.to_string_lossy().into_owned().into()));
        }
        found.push(("process.executable.path", path.to_string_lossy().into_owned().into()));
    }
    if let Some(name) = host_name() {
        found.push(("host.name", name.into()));
    }
    found
}

/// A random UUID (RFC 9562, version 4), new for each start: two replicas never share it.
fn instance_id() -> String {
    let random = u128::from(id::random()) << 64 | u128::from(id::random());
    let number = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = text.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The values of `os.type` that differ from Rust's names.
fn os_type() -> &'static str {
    match std::env::consts::OS {
        "macos" | "ios" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

/// The values of `host.arch` that differ from Rust's names.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_already_stays() {
        let resource = complete(Resource::new("cart").with("host.name", "given"));
        let value = |key: &str| resource.attributes().iter().find(|(known, _)| known == key).map(|(_, value)| value);
        assert_eq!(value("host.name"), Some(&Value::from("given")));
        assert_eq!(value("process.pid"), Some(&Value::from(i64::from(std::process::id()))));
        for key in ["service.instance.id", "process.executable.name", "os.type", "process.runtime.version"] {
            assert!(value(key).is_some(), "{key}");
        }
    }

    #[test]
    fn instances_have_ids_of_their_own() {
        let id = instance_id();
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{id}");
        assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, instance_id());
    }
}
