//! What all services share, and what the switches of the faults move in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracewell_sdk::{Sampler, Tracer};

use crate::database::Databases;
use crate::faults::{FaultId, FaultState, Switch, Switches};
use crate::network::{Directory, Link};
use crate::random::Random;

/// The service whose clock is wrong on demand, and by how much.
const SKEWED: &str = "pricing";
const SKEW_NS: i64 = 180_000_000;

/// How much faster a drifting clock runs: far more than real ones, so that it shows within minutes.
const DRIFT_NS_PER_SECOND: i64 = 1_000_000;

/// How often a drifting clock is moved.
const DRIFT_STEP: Duration = Duration::from_millis(250);

/// The service that samples by itself on demand, and the share that it keeps.
const SAMPLES: &str = "cart";
const SAMPLED_RATIO: f64 = 0.1;

/// The service whose next version is rolled out on demand.
const DEPLOYED: &str = "inventory";

/// What all services share.
pub(crate) struct World {
    pub(crate) directory: Arc<Directory>,
    pub(crate) random: Random,
    pub(crate) faults: Switches,
    pub(crate) databases: Databases,
    /// The line between the tenth service and the eleventh.
    pub(crate) link: Arc<Link>,
    /// A tracer for each instance: its clock and its sampler.
    pub(crate) tracers: Vec<(&'static str, Tracer)>,
    pub(crate) requests_per_second: f64,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl World {
    /// Switches a fault. Most are looked at where they happen; the others are moved here.
    pub(crate) fn switch(&self, switch: Switch, on: bool) -> FaultState {
        let state = self.faults.set(switch, on);
        match switch.fault {
            FaultId::CongestionRequest => self.link.request.congest(on),
            FaultId::CongestionResponse => self.link.response.congest(on),
            FaultId::BadDeploy => self.directory.roll_out(DEPLOYED, on),
            FaultId::SlowQuery => self.databases.use_index("ledger", !on),
            FaultId::ClockSkew => {
                let offset = match self.faults.setting(FaultId::ClockSkew) {
                    None => 0,
                    Some("behind") => -SKEW_NS,
                    Some(_) => SKEW_NS,
                };
                self.tracers_of(SKEWED).for_each(|tracer| tracer.set_clock_offset(offset));
            }
            FaultId::CallerSampling => {
                let sampler = if on { Sampler::ratio(SAMPLED_RATIO) } else { Sampler::default() };
                self.tracers_of(SAMPLES).for_each(|tracer| tracer.set_sampler(sampler.clone()));
            }
            _ => {}
        }
        state
    }

    fn tracers_of(&self, name: &str) -> impl Iterator<Item = &Tracer> {
        self.tracers.iter().filter(move |(service, _)| *service == name).map(|(_, tracer)| tracer)
    }

    /// Moves the clock that drifts, until the shop closes.
    pub(crate) async fn drift(self: Arc<Self>) {
        let mut since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(DRIFT_STEP) => {}
            }
            if self.faults.setting(FaultId::ClockSkew) != Some("drifting") {
                since = None;
                continue;
            }
            let elapsed = since.get_or_insert_with(Instant::now).elapsed();
            let drifted = (elapsed.as_secs_f64() * DRIFT_NS_PER_SECOND as f64) as i64;
            self.tracers_of(SKEWED).for_each(|tracer| tracer.set_clock_offset(SKEW_NS + drifted));
        }
    }
}
