//! The user interface, embedded in the binary.
//!
//! A path with a file is that file; every other path a browser navigates to is the page itself, which finds its way
//! from the URL. Files whose name carries a hash of their content never change and are cached for good.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));
}

/// The page that is shown when the binary was built without the interface.
const MISSING: &str = include_str!("ui_missing.html");

/// Nothing is loaded from anywhere but here; workers and inline styles are what the waterfall is drawn with.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'self'; \
     form-action 'self'; frame-ancestors 'self'";

struct Asset {
    bytes: &'static [u8],
    content_type: &'static str,
    etag: HeaderValue,
    immutable: bool,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let files = embedded::FILES.iter().map(|(path, bytes)| (*path, asset(path, bytes)));
    let mut assets: HashMap<_, _> = files.collect();
    assets.entry("index.html").or_insert_with(|| asset("index.html", MISSING.as_bytes()));
    assets
});

fn asset(path: &str, bytes: &'static [u8]) -> Asset {
    // Unkeyed and stable over builds: equal content has an equal tag.
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(bytes);
    let etag =
        HeaderValue::from_str(&format!("W/\"{:016x}\"", hasher.finish())).unwrap_or(HeaderValue::from_static("W/\"\""));
    Asset { bytes, content_type: content_type(path), etag, immutable: path.starts_with("assets/") }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// True when the binary holds the interface.
pub(crate) fn is_embedded() -> bool {
    !embedded::FILES.is_empty()
}

/// Answers everything that no API route answers.
pub(crate) async fn fallback(request: Request) -> Response {
    let path = request.uri().path();
    if is_api(path) {
        return ApiError::not_found("no_such_route", format!("there is no {} {path}", request.method()))
            .with_hint("the API is described at /api/v1/openapi.json")
            .into_response();
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "pages are read with GET")
            .into_response();
    }
    match ASSETS.get(path.trim_start_matches('/')) {
        Some(asset) => answer(asset, request.headers()),
        // A missing script must not look like a page.
        None if path.starts_with("/assets/") => {
            ApiError::not_found("no_such_file", format!("there is no {path}")).into_response()
        }
        None => ASSETS.get("index.html").map_or_else(
            || ApiError::not_found("no_such_file", "there is no page").into_response(),
            |page| answer(page, request.headers()),
        ),
    }
}

fn is_api(path: &str) -> bool {
    ["/api", "/jaeger", "/zipkin", "/v1"]
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn answer(asset: &Asset, request: &HeaderMap) -> Response {
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let tag = asset.etag.to_str().unwrap_or_default();
    let unchanged = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"));
    let mut response =
        if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(asset.bytes)) };
    let headers = response.headers_mut();
    let caching = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::ETAG, asset.etag.clone());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_paths_never_fall_back_to_the_page() {
        for (path, expected) in [
            ("/api/v1/nothing", true),
            ("/api", true),
            ("/v1/traces", true),
            ("/", false),
            ("/traces", false),
            ("/trace/4bf92f3577b34da6a3ce929d0e0e4736", false),
            ("/apiary", false),
        ] {
            assert_eq!(is_api(path), expected, "{path}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let asset = asset("assets/app-1234.js", b"let a = 1");
        let first = answer(&asset, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert!(first.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(answer(&asset, &headers).status(), StatusCode::NOT_MODIFIED);
    }
}
