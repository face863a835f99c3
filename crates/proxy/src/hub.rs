//! What all connections share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;

use crate::backend::Backend;
use crate::config::Config;
use crate::headers::Via;
use crate::names::Names;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::table::Table;

/// Which listener a request came to.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// For the application.
    Inbound,
    /// From the application, as to a forward proxy.
    Outbound,
    /// From the application, for this backend.
    Egress(Arc<Backend>),
}

/// Everything that outlives a connection.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) pool: Arc<Pool>,
    pub(crate) table: Arc<Table>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) names: Names,
    pub(crate) via: Via,
    /// Where spans go. Tasks that hold spans run under it.
    pub(crate) dispatch: Dispatch,
    /// Addresses that the proxy listens on itself.
    pub(crate) own: Vec<SocketAddr>,
    /// Set when what is still under way is to be broken off.
    pub(crate) closing: CancellationToken,
    /// Connections and tunnels.
    pub(crate) tasks: TaskTracker,
}
