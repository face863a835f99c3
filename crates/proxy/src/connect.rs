//! Opening a connection to a backend: name, socket, TLS, HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend::{Backend, Scheme};
use crate::config::Config;
use crate::failure::Failure;
use crate::upload::RequestBody;

/// Flow-control windows towards HTTP/2 backends.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// An HTTP/2 backend with requests under way is asked this often whether it still lives, and has that long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME: Duration = Duration::from_secs(20);

/// Dead peers are noticed after this time also where nothing is being sent, as in a quiet WebSocket.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read, or holds no certificate.
    #[error("{path}: {problem}; expected certificates in PEM form")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The TLS library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    Http1,
    Http2,
}

/// How a connection ended, once it has failed. Requests that were not yet under way are only told that it is over.
pub(crate) type Ended = watch::Receiver<Option<Failure>>;

/// A connection that was just made.
pub(crate) enum Made {
    Http1(http1::SendRequest<RequestBody>),
    Http2 { sender: http2::SendRequest<RequestBody>, streams_max: usize, ended: Ended },
}

/// Makes connections.
pub(crate) struct Connector {
    tls: [Arc<ClientConfig>; 2],
    connect_time: Duration,
    head_bytes_max: usize,
}

impl Connector {
    /// Reads the certificates that backends are trusted by: the system's, else those of Mozilla, and the given file's.
    pub(crate) fn new(config: &Config) -> Result<Self, CertificateError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = &config.ca_file {
            let fail = |problem: String| CertificateError::File { path: path.display().to_string(), problem };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
            let before = roots.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(fail("it holds no certificate".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config_with = |protocols: &[&[u8]]| -> Result<Arc<ClientConfig>, CertificateError> {
            let builder =
                ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
            let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(Arc::new(config))
        };
        let tls = [config_with(&[b"http/1.1"])?, config_with(&[b"h2", b"http/1.1"])?];
        Ok(Self { tls, connect_time: config.connect_time, head_bytes_max: config.limits.head_bytes_max })
    }

    /// A connection to `backend` in that version; over TLS the backend may choose HTTP/1.1 instead of HTTP/2.
    pub(crate) async fn connect(&self, backend: &Backend, version: Line) -> Result<Made, Failure> {
        let opening = async {
            let tcp = tcp(backend).await?;
            if backend.scheme != Scheme::Https {
                return self.handshake(Stream::Plain(tcp), version).await;
            }
            let name = ServerName::try_from(backend.host.clone()).map_err(|_| Failure::Tls)?;
            let config = &self.tls[usize::from(version == Line::Http2)];
            let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(|_| Failure::Tls)?;
            let version = match tls.get_ref().1.alpn_protocol() {
                Some(b"h2") => Line::Http2,
                _ => Line::Http1,
            };
            self.handshake(Stream::Tls(Box::new(tls)), version).await
        };
        timeout(self.connect_time, opening).await.unwrap_or(Err(Failure::ConnectTimeout))
    }

    /// A plain connection, for tunnels.
    pub(crate) async fn tcp(&self, backend: &Backend) -> Result<TcpStream, Failure> {
        timeout(self.connect_time, tcp(backend)).await.unwrap_or(Err(Failure::ConnectTimeout))
    }

    async fn handshake(&self, stream: Stream, version: Line) -> Result<Made, Failure> {
        let io = TokioIo::new(stream);
        match version {
            Line::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_header_size(self.head_bytes_max)
                    .max_headers(256)
                    .preserve_header_case(true)
                    .handshake(io)
                    .await
                    .map_err(|error| Failure::of_hyper(&error, false))?;
                // How it ends is told to whoever waits for an answer.
                tokio::spawn(connection.with_upgrades());
                Ok(Made::Http1(sender))
            }
            Line::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .max_header_list_size(u32::try_from(self.head_bytes_max).unwrap_or(u32::MAX))
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_TIME)
                    .handshake(io)
                    .await
                    .map_err(|error| Failure::of_hyper(&error, false))?;
                // What the backend allows becomes known with its settings, which come after the first request.
                let streams_max = connection.current_max_send_streams();
                let (tell, ended) = watch::channel(None);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tell.send_replace(Some(Failure::of_hyper(&error, false)));
                    }
                });
                Ok(Made::Http2 { sender, streams_max, ended })
            }
        }
    }
}

async fn tcp(backend: &Backend) -> Result<TcpStream, Failure> {
    let addresses = tokio::net::lookup_host((backend.host.as_str(), backend.port)).await;
    let addresses = addresses.map_err(|_| Failure::Unresolved)?;
    let mut failure = Failure::Unresolved;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                tune(&stream);
                return Ok(stream);
            }
            Err(error) => failure = Failure::of_connect(&error),
        }
    }
    Err(failure)
}

/// Small messages go out at once, and dead peers are noticed. A socket that refuses works all the same.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

/// A connection with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, out),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, data),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
