//! Bytes both ways, after a protocol was switched or a `CONNECT` was granted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tracewell_sdk::under;

use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::pool::Lease;
use crate::stats::one;

/// Buffer for each direction.
const BUFFER_BYTES: usize = 16 << 10;

/// Where the other end is.
pub(crate) enum Far {
    /// A backend that switched protocols.
    Upgraded { upgrade: OnUpgrade, lease: Lease },
    /// A connection that the proxy made.
    Connected(tokio::net::TcpStream),
}

/// Carries bytes until both ends are done, in a task of its own that the proxy waits for when it ends.
pub(crate) fn spawn(hub: &Arc<Hub>, client: OnUpgrade, far: Far, exchange: Exchange) {
    one(&hub.stats.tunnels);
    let closing = hub.closing.clone();
    let run = async move {
        let mut exchange = exchange;
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let carried = tokio::select! {
            carried = carry(client, far, Arc::clone(&sent), Arc::clone(&received)) => Some(carried),
            () = closing.cancelled() => None,
        };
        exchange.tunnelled(sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
        match carried {
            // Peers of a tunnel often end it by a reset; whose it was cannot be told from here.
            Some(Ok(())) => exchange.end(),
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => exchange.end(),
            Some(Err(_)) => exchange.fail(Failure::ClosedInBody, None),
            None => exchange.fail(Failure::Ended, None),
        }
    };
    hub.tasks.spawn(under(&hub.dispatch, run));
}

async fn carry(client: OnUpgrade, far: Far, sent: Arc<AtomicU64>, received: Arc<AtomicU64>) -> io::Result<()> {
    let client = client.await.map_err(io::Error::other)?;
    let mut client = Counted { stream: TokioIo::new(client), read: sent };
    match far {
        Far::Upgraded { upgrade, lease } => {
            let far = upgrade.await.map_err(io::Error::other)?;
            let mut far = Counted { stream: TokioIo::new(far), read: received };
            let carried = copy_bidirectional_with_sizes(&mut client, &mut far, BUFFER_BYTES, BUFFER_BYTES).await;
            drop(lease);
            carried.map(|_| ())
        }
        Far::Connected(far) => {
            let mut far = Counted { stream: far, read: received };
            copy_bidirectional_with_sizes(&mut client, &mut far, BUFFER_BYTES, BUFFER_BYTES).await.map(|_| ())
        }
    }
}

/// Counts what is read, so that the figures are right also when the tunnel breaks.
struct Counted<S> {
    stream: S,
    read: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, out);
        this.read.fetch_add((out.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
