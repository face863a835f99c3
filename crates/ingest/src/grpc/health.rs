//! `grpc.health.v1.Health/Check`, which load balancers and many clients ask before they send.

use bytes::Bytes;

use crate::refusal::{Reason, Refusal, code};

/// Services that can be asked for; the empty name is the server as a whole.
const SERVICES: [&str; 3] =
    ["", "opentelemetry.proto.collector.trace.v1.TraceService", "opentelemetry.proto.collector.logs.v1.LogsService"];

/// `HealthCheckResponse` with status SERVING (field 1, value 1) or NOT_SERVING (2).
const SERVING: &[u8] = &[0x08, 0x01];
const NOT_SERVING: &[u8] = &[0x08, 0x02];

/// Answers a `HealthCheckRequest`: field 1 is the name of a service.
pub(super) fn check(request: &[u8], closing: bool) -> Result<Bytes, Refusal> {
    let service = match request {
        [] => Some(""),
        // Names are short: a length of one byte.
        [0x0a, length, name @ ..] if usize::from(*length) == name.len() && *length < 0x80 => {
            std::str::from_utf8(name).ok()
        }
        _ => None,
    };
    match service {
        Some(name) if SERVICES.contains(&name) => Ok(Bytes::from_static(if closing { NOT_SERVING } else { SERVING })),
        Some(name) => {
            let message = format!("there is no service {name:?}; expected one of {SERVICES:?}");
            Err(Refusal::new(Reason::UnknownPath, message).with_grpc_code(code::NOT_FOUND))
        }
        None => Err(Refusal::new(Reason::DecodeError, "the message is not a grpc.health.v1.HealthCheckRequest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_services_serve_and_others_are_not_found() {
        let ask = |request: &[u8]| check(request, false).map_err(|refusal| refusal.grpc_code);
        let named = |name: &str| [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        assert_eq!(ask(&[]).unwrap(), SERVING);
        assert_eq!(ask(&named(SERVICES[1])).unwrap(), SERVING);
        assert_eq!(ask(&named("other")), Err(code::NOT_FOUND));
        assert_eq!(ask(&[0x0a, 9, 1]), Err(code::INVALID_ARGUMENT));
        assert_eq!(check(&[], true).unwrap(), NOT_SERVING);
    }
}
