//! Backends over TLS: trusted by a file, HTTP/2 where they offer it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use tracewell_proxy::{Egress, Routes};

use crate::support::{ANY, Bench, CLIENT, backend, get, of_kind, text};

/// A backend with a certificate of its own for `localhost`; tells the version that it was asked in. Returns the
/// certificate as PEM.
async fn secure(protocols: &[&[u8]]) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = backend(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request: Request<Incoming>| async move {
                let host = request.uri().authority().map(ToString::to_string);
                let host = host.or_else(|| Some(request.headers().get("host")?.to_str().ok()?.to_owned()));
                let told = format!("{:?} for {}", request.version(), host.unwrap_or_default());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(told))))
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (address.await, cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_backend_is_spoken_to_in_the_version_that_it_offers() {
    for (offers, version) in
        [(&[&b"h2"[..], b"http/1.1"][..], "HTTP/2.0"), (&[b"http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")]
    {
        let (address, pem) = secure(offers).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let to = format!("https://localhost:{}", address.port());
        let bench = Bench::with(address, |config| {
            config.routes = Routes::new(Vec::new(), Some(to.parse().unwrap()));
            config.egress.push(Egress { listen: ANY, to: to.parse().unwrap() });
            config.ca_file = Some(file);
        })
        .await;
        let answer = get(bench.inbound(), "/", "").await;
        assert!(answer.ends_with(&format!("{version} for shop")), "{offers:?}: {answer}");
        let answer = get(bench.running().addresses().egress[0], "/", "").await;
        assert!(answer.ends_with(&format!("{version} for localhost:{}", address.port())), "{offers:?}: {answer}");
        let spans = bench.spans(3).await;
        assert!(text(of_kind(&spans, CLIENT), "url.full").starts_with("https://localhost:"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_nobody_vouches_for_is_refused() {
    let (address, _) = secure(&[b"http/1.1"]).await;
    let bench = Bench::with(address, |config| {
        let to = format!("https://localhost:{}", address.port());
        config.routes = Routes::new(Vec::new(), Some(to.parse().unwrap()));
    })
    .await;
    let answer = get(bench.inbound(), "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("tls_handshake"), "{answer}");
}
