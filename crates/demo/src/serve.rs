//! A service's sockets: HTTP/1.1, or HTTP/2 for those that speak gRPC.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::network::Tasks;
use crate::service::Service;
use crate::topology::Protocol;

/// Connections that one instance serves at a time.
const CONNECTIONS_MAX: usize = 256;

impl Service {
    /// Serves `router` on `listener` until the shop closes. Everything runs under this service's subscriber.
    pub(crate) fn serve(&self, listener: TcpListener, router: Router) {
        let service = self.clone();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        self.world.tasks.spawn(async move {
            let (world, dispatch) = (&service.world, &service.dispatch);
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let stream = tokio::select! {
                    () = world.stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        // Out of descriptors, most likely: wait until some are free.
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    },
                };
                // Small answers are not to wait for more; without it they are only slower.
                let _ = stream.set_nodelay(true);
                let (router, stop, protocol) = (router.clone(), world.stop.clone(), service.spec.protocol);
                let tasks = Tasks(dispatch.clone());
                let connection = async move {
                    let _slot = slot;
                    match protocol {
                        Protocol::Http => http1(stream, router, stop).await,
                        Protocol::Grpc => http2(stream, router, stop, tasks).await,
                    }
                };
                world.tasks.spawn(tracewell_sdk::under(dispatch, connection));
            }
        });
    }
}

// In both, a caller sees a broken connection; there is nobody else to tell.

async fn http1(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn http2(stream: TcpStream, router: Router, stop: CancellationToken, tasks: Tasks) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
