//! Where requests really go: the URL that was given, or the one that was meant.
//!
//! OTLP has two ports: 4317 for gRPC, 4318 for HTTP. This exporter speaks HTTP. Very often it is pointed at the
//! other port, by an `OTEL_EXPORTER_OTLP_ENDPOINT` that other programs of the deployment understand. Some receivers
//! take both on either port; where one does not, its neighbour gets a try.

/// The port of OTLP over gRPC, and the one of OTLP over HTTP.
const GRPC_PORT: &str = ":4317/";
const HTTP_PORT: &str = ":4318/";

/// The URL of one signal.
pub(crate) struct Target {
    pub(crate) url: String,
    /// Another URL that may be meant, until one of both has accepted something.
    pub(crate) neighbour: Option<String>,
}

impl Target {
    pub(crate) fn new(url: &str) -> Self {
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let authority_end = url[after_scheme..].find('/').map(|at| after_scheme + at);
        let neighbour = authority_end.and_then(|slash| {
            let (base, path) = (url.get(..=slash)?, url.get(slash + 1..)?);
            Some(format!("{}{HTTP_PORT}{path}", base.strip_suffix(GRPC_PORT)?))
        });
        Self { url: url.to_owned(), neighbour }
    }

    /// The URL has accepted a request: it is the right one.
    pub(crate) fn proven(&mut self) {
        self.neighbour = None;
    }

    /// The neighbour has accepted one: it is used from now on. Returns the URL that was given.
    pub(crate) fn turn(&mut self) -> String {
        match self.neighbour.take() {
            Some(neighbour) => std::mem::replace(&mut self.url, neighbour),
            None => self.url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_grpc_has_a_neighbour() {
        let cases = [
            ("http://collector:4317/v1/traces", Some("http://collector:4318/v1/traces")),
            ("https://[::1]:4317/", Some("https://[::1]:4318/")),
            ("http://collector:4318/v1/traces", None),
            ("http://collector/a:4317/x", None),
            ("http://collector:43170/v1/traces", None),
            ("http://collector:4317", None),
            ("", None),
        ];
        for (url, neighbour) in cases {
            assert_eq!(Target::new(url).neighbour.as_deref(), neighbour, "{url}");
        }
        let mut target = Target::new("http://h:4317/x");
        assert_eq!((target.turn(), target.url.as_str()), ("http://h:4317/x".to_owned(), "http://h:4318/x"));
        assert!(target.neighbour.is_none());
    }
}
