//! Compression of answers by `Accept-Encoding` (RFC 9110 §12.5.3): zstd or gzip.
//!
//! Every answer of this server is complete before it is sent, so it is compressed in one go, off the threads that serve
//! connections, and goes out with its length.

use std::io::Write;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use bytes::Bytes;
use http_body_util::BodyExt;

/// Smaller bodies are not worth it: they fit into one packet.
const BYTES_MIN: usize = 1024;

/// Bodies up to this size are compressed in place: sooner done than handed to another thread.
const BYTES_INLINE_MAX: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    fn compress(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Coding::Zstd => zstd::bulk::compress(body, 3),
            Coding::Gzip => {
                let out = Vec::with_capacity(body.len() / 4);
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(4));
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

/// The best coding that the client accepts: the one with the highest weight, zstd before gzip where they are equal.
fn choose(headers: &HeaderMap) -> Option<Coding> {
    let mut weights = [(Coding::Zstd, None::<f32>), (Coding::Gzip, None)];
    let mut any = None;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut pieces = part.split(';');
            let name = pieces.next().unwrap_or_default().trim();
            let weight =
                pieces.find_map(|piece| piece.trim().strip_prefix("q=")?.trim().parse().ok()).unwrap_or(1.0f32);
            if name == "*" {
                any = Some(weight);
            }
            for (coding, own) in &mut weights {
                if name.eq_ignore_ascii_case(coding.name()) {
                    *own = Some(weight);
                }
            }
        }
    }
    let accepted = weights.iter().filter_map(|(coding, weight)| Some((*coding, weight.or(any)?)));
    accepted
        .filter(|(_, weight)| *weight > 0.0)
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(coding, _)| coding)
}

fn is_compressible(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    let packed = kind.starts_with("image/") && kind != "image/svg+xml" || kind.starts_with("font/");
    // gRPC compresses messages by itself and has trailers, which must stay.
    let grpc = kind.starts_with("application/grpc");
    !packed && !grpc && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Compresses what the routes answer.
pub(crate) async fn compress(request: Request, next: Next) -> Response<Body> {
    let coding = choose(request.headers());
    let response = next.run(request).await;
    if response.status() == StatusCode::NOT_MODIFIED || !is_compressible(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding else { return Response::from_parts(parts, body) };
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    if body.len() < BYTES_MIN {
        return Response::from_parts(parts, Body::from(body));
    }
    let packed = if body.len() <= BYTES_INLINE_MAX {
        coding.compress(&body).ok()
    } else {
        let body: Bytes = body.clone();
        tokio::task::spawn_blocking(move || coding.compress(&body).ok()).await.ok().flatten()
    };
    match packed {
        Some(packed) if packed.len() < body.len() => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(packed))
        }
        _ => Response::from_parts(parts, Body::from(body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        for (accept, expected) in [
            ("", None),
            ("identity", None),
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("GZIP;q=1, zstd;q=0.5", Some(Coding::Gzip)),
            ("zstd;q=0, gzip;q=0.1", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("*;q=0, gzip", Some(Coding::Gzip)),
            ("br", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
            assert_eq!(choose(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let body = "tracewell ".repeat(1000).into_bytes();
        let zstd = Coding::Zstd.compress(&body).unwrap();
        assert_eq!(zstd::bulk::decompress(&zstd, body.len()).unwrap(), body);
        let mut unpacked = Vec::new();
        let gzip = Coding::Gzip.compress(&body).unwrap();
        std::io::copy(&mut flate2::read::GzDecoder::new(gzip.as_slice()), &mut unpacked).unwrap();
        assert_eq!(unpacked, body);
    }
}
