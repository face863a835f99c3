//! The line between two regions: a TCP relay that both sides of a hop talk through, and that can be congested in one
//! direction.
//!
//! ```text
//! caller ──TCP──▶ relay ══ request lane: queue, bandwidth, delay ══▶ relay ──TCP──▶ callee
//!                   ◀════ response lane ═════════════════════════
//! ```
//!
//! All connections share a lane, as packets of many connections share a line: what comes first goes first. The callee
//! sees nothing before the relay hands it over, so that no time of either service grows.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How much longer a packet is under way on a congested line.
const CONGESTED_DELAY: Duration = Duration::from_millis(350);

/// What a congested line carries in a second.
const CONGESTED_BYTES_PER_SECOND: f64 = 24_000.0;

/// The longest queue; a line that is longer would drop packets.
const QUEUE_MAX: Duration = Duration::from_millis(1_500);

/// Largest piece that is relayed at once.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Pieces of one connection on their way; more are not read from the sender.
const PIECES_MAX: usize = 16;

/// One direction of the line.
#[derive(Default)]
pub(crate) struct Lane {
    congested: AtomicBool,
    /// When the last byte in the queue will have left.
    busy_until: Mutex<Option<Instant>>,
}

impl Lane {
    pub(crate) fn congest(&self, on: bool) {
        self.congested.store(on, Ordering::Relaxed);
    }

    /// When a piece that is handed over now arrives at the other end.
    fn arrival(&self, bytes: usize, now: Instant) -> Instant {
        if !self.congested.load(Ordering::Relaxed) {
            return now;
        }
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = busy_until.unwrap_or(now).clamp(now, now + QUEUE_MAX);
        let sent = begin + Duration::from_secs_f64(bytes as f64 / CONGESTED_BYTES_PER_SECOND);
        *busy_until = Some(sent);
        sent + CONGESTED_DELAY
    }
}

/// Both directions.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) request: Lane,
    pub(crate) response: Lane,
}

impl Link {
    /// Relays every connection that `listener` takes to `callee`, until `stop`.
    pub(crate) async fn relay(
        self: Arc<Self>,
        listener: TcpListener,
        callee: SocketAddr,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((caller, _)) = accepted else {
                // Out of descriptors, most likely: wait until some are free.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (link, stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move {
                let connection = link.connection(caller, callee);
                tokio::select! {
                    () = async { stop.cancelled().await; tokio::time::sleep(QUEUE_MAX).await } => {}
                    () = connection => {}
                }
            });
        }
    }

    async fn connection(&self, caller: TcpStream, callee: SocketAddr) {
        // A callee that is gone shows to the caller as a connection that closes at once.
        let Ok(callee) = TcpStream::connect(callee).await else { return };
        let _ = (caller.set_nodelay(true), callee.set_nodelay(true));
        let (from_caller, to_caller) = caller.into_split();
        let (from_callee, to_callee) = callee.into_split();
        tokio::join!(carry(&self.request, from_caller, to_callee), carry(&self.response, from_callee, to_caller));
    }
}

/// Carries one direction of a connection until its sender closes it or its receiver is gone.
async fn carry(lane: &Lane, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Bytes)>(PIECES_MAX);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES_MAX / 4);
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => {
                    let due = lane.arrival(bytes, Instant::now());
                    if sender.send((due, buffer.split().freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The sender has closed its side; whoever is gone already needs no notice.
        let _ = to.shutdown().await;
    };
    let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
    tokio::select! {
        // Nobody takes what would still come.
        () = write.as_mut() => {}
        // What is on its way still arrives.
        () = read.as_mut() => write.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_congested_lane_delays_and_queues_and_a_free_one_does_neither() {
        let (lane, now) = (Lane::default(), Instant::now());
        assert_eq!(lane.arrival(1_000_000, now), now);
        lane.congest(true);
        let first = lane.arrival(2_400, now) - now;
        let second = lane.arrival(2_400, now) - now;
        assert_eq!(first, CONGESTED_DELAY + Duration::from_millis(100));
        assert_eq!(second, first + Duration::from_millis(100), "behind the first");
        for _ in 0..100 {
            assert!(lane.arrival(2_400, now) <= now + QUEUE_MAX + first, "the queue has an end");
        }
        lane.congest(false);
        assert_eq!(lane.arrival(10, now), now);
    }
}
