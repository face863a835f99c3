//! What goes wrong on demand: the switches, and for each fault what an analysis of the traces has to find.
//!
//! [`FAULTS`] is data, so that documentation, command line, page and tests say the same.
//!
//! ```text
//! --fault NAME[=SETTING] ────┐
//! POST /api/v1/demo/faults/… ┼─▶ Switch ─▶ Switches ─▶ asked by services, links and databases at each request
//! Control::switch ───────────┘
//! ```

mod table;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use table::FAULTS;

/// A fault: what it changes, where, and what has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which one; also its place in [`FAULTS`].
    pub id: FaultId,
    /// What it is switched by.
    pub name: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What it changes in the shop.
    pub description: &'static str,
    /// What to look at while it is on.
    pub look: &'static str,
    /// TraceQL that finds the traces that it changes.
    pub query: &'static str,
    /// Its variants, the default first; empty where there is only one.
    pub settings: &'static [&'static str],
    /// The services where something changes.
    pub services: &'static [&'static str],
    /// What an analysis of the traces has to find.
    pub expected: Expected,
}

/// What an analysis of the traces has to find while a fault is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// In words.
    pub sentence: &'static str,
    /// What kind of problem it is.
    pub kind: Kind,
    /// The service to blame.
    pub service: Option<&'static str>,
    /// The hop to blame.
    pub edge: Option<Edge>,
    /// Which way of the hop.
    pub direction: Option<Direction>,
    /// The operation to blame: a span's name.
    pub operation: Option<&'static str>,
    /// The statement to blame: `db.query.text`.
    pub statement: Option<&'static str>,
    /// The attribute that tells the bad from the good: key with its scope, and value.
    pub attribute: Option<(&'static str, &'static str)>,
}

impl Expected {
    /// A verdict that says nothing yet but this.
    pub(crate) const fn new(kind: Kind, sentence: &'static str) -> Self {
        Self {
            sentence,
            kind,
            service: None,
            edge: None,
            direction: None,
            operation: None,
            statement: None,
            attribute: None,
        }
    }
}

/// A hop from one service to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Who calls.
    pub caller: &'static str,
    /// Who is called.
    pub callee: &'static str,
}

/// A way of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the caller to the callee.
    Request,
    /// From the callee to the caller.
    Response,
}

impl Direction {
    /// `request` or `response`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Request => "request",
            Direction::Response => "response",
        }
    }
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An operation takes long by itself.
    SlowOperation,
    /// An operation waits for a lock.
    LockWait,
    /// The time goes between two services.
    Network,
    /// Failing calls are repeated on several levels.
    RetryStorm,
    /// One call for each of many things, where one for all would do.
    NPlusOne,
    /// Calls that do not need each other wait for each other.
    SerialCalls,
    /// A service does not pass the context on.
    LostContext,
    /// A service's clock is wrong.
    ClockSkew,
    /// A failure below does not show above.
    SwallowedError,
    /// A new version is worse than the one before.
    Regression,
    /// A service in the middle records a part only.
    MidSampling,
}

impl Kind {
    /// The name of the kind, such as `slow-operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::SlowOperation => "slow-operation",
            Kind::LockWait => "lock-wait",
            Kind::Network => "network",
            Kind::RetryStorm => "retry-storm",
            Kind::NPlusOne => "n-plus-one",
            Kind::SerialCalls => "serial-calls",
            Kind::LostContext => "lost-context",
            Kind::ClockSkew => "clock-skew",
            Kind::SwallowedError => "swallowed-error",
            Kind::Regression => "regression",
            Kind::MidSampling => "mid-sampling",
        }
    }
}

/// A fault that cannot be switched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no fault of that name.
    #[error("there is no fault `{name}`; there are {}", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The fault has no such setting.
    #[error("{fault} has no setting `{setting}`; {}", said(settings))]
    Setting {
        /// The fault.
        fault: &'static str,
        /// The setting as given.
        setting: String,
        /// Those that it has.
        settings: &'static [&'static str],
    },
}

fn said(settings: &[&str]) -> String {
    if settings.is_empty() { "it has none".to_owned() } else { format!("it has {}", settings.join(", ")) }
}

/// The names of all faults.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|fault| fault.name)
}

/// A fault with its setting, written `slow-query` or `slow-database=orders-db`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Which fault.
    pub fault: FaultId,
    /// Which of its settings, by place; 0 where it has none.
    pub(crate) setting: usize,
}

impl Switch {
    /// The fault of that name, with this setting or its default.
    ///
    /// # Errors
    ///
    /// [`FaultError`] names what does not exist.
    pub fn new(name: &str, setting: Option<&str>) -> Result<Self, FaultError> {
        let unknown = || FaultError::Unknown { name: name.to_owned() };
        let fault = FAULTS.iter().find(|fault| fault.name == name).ok_or_else(unknown)?;
        let place = match setting {
            None => Some(0),
            Some(setting) => fault.settings.iter().position(|known| *known == setting),
        };
        place.map(|setting| Self { fault: fault.id, setting }).ok_or_else(|| FaultError::Setting {
            fault: fault.name,
            setting: setting.unwrap_or_default().to_owned(),
            settings: fault.settings,
        })
    }

    /// The fault's description.
    pub fn fault(self) -> &'static Fault {
        self.fault.describe()
    }
}

impl From<FaultId> for Switch {
    /// The fault with its default setting.
    fn from(fault: FaultId) -> Self {
        Self { fault, setting: 0 }
    }
}

impl FromStr for Switch {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        match text.split_once('=') {
            Some((name, setting)) => Self::new(name, Some(setting)),
            None => Self::new(text, None),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault().name)?;
        match self.fault().settings.get(self.setting) {
            Some(setting) if self.setting > 0 => write!(f, "={setting}"),
            _ => Ok(()),
        }
    }
}

/// A fault as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultState {
    /// Which one.
    pub fault: &'static Fault,
    /// Whether it is on.
    pub on: bool,
    /// The setting that is on, or was last; `None` where the fault has none.
    pub setting: Option<&'static str>,
}

/// The faults by name, in the order of [`FAULTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultId {
    /// `slow-query`
    SlowQuery,
    /// `congestion-request`
    CongestionRequest,
    /// `congestion-response`
    CongestionResponse,
    /// `slow-database`
    SlowDatabase,
    /// `retry-storm`
    RetryStorm,
    /// `n-plus-one`
    NPlusOne,
    /// `serial-calls`
    SerialCalls,
    /// `lost-context`
    LostContext,
    /// `clock-skew`
    ClockSkew,
    /// `swallowed-error`
    SwallowedError,
    /// `bad-deploy`
    BadDeploy,
    /// `caller-sampling`
    CallerSampling,
}

impl FaultId {
    /// All that is known about it.
    pub fn describe(self) -> &'static Fault {
        &FAULTS[self as usize]
    }
}

/// Off; a setting by place is one more than that.
const OFF: usize = 0;

/// The switches of one shop.
#[derive(Default)]
pub(crate) struct Switches {
    on: [AtomicUsize; FAULTS.len()],
    last: [AtomicUsize; FAULTS.len()],
}

impl Switches {
    pub(crate) fn set(&self, switch: Switch, on: bool) -> FaultState {
        let place = switch.fault as usize;
        self.last[place].store(switch.setting, Ordering::Relaxed);
        self.on[place].store(if on { switch.setting + 1 } else { OFF }, Ordering::Relaxed);
        self.state(switch.fault)
    }

    pub(crate) fn is_on(&self, fault: FaultId) -> bool {
        self.on[fault as usize].load(Ordering::Relaxed) != OFF
    }

    /// The setting that is on.
    pub(crate) fn setting(&self, fault: FaultId) -> Option<&'static str> {
        let on = self.on[fault as usize].load(Ordering::Relaxed);
        fault.describe().settings.get(on.checked_sub(1)?).copied()
    }

    pub(crate) fn state(&self, fault: FaultId) -> FaultState {
        let last = self.last[fault as usize].load(Ordering::Relaxed);
        let fault = fault.describe();
        FaultState { fault, on: self.is_on(fault.id), setting: fault.settings.get(last).copied() }
    }

    pub(crate) fn states(&self) -> Vec<FaultState> {
        FAULTS.iter().map(|fault| self.state(fault.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_complete() {
        for (place, fault) in FAULTS.iter().enumerate() {
            assert_eq!(fault.id as usize, place, "{}", fault.name);
            for text in [fault.title, fault.description, fault.look, fault.query, fault.expected.sentence] {
                assert!(!text.is_empty(), "{}", fault.name);
            }
            assert!(fault.expected.service.is_some() || fault.expected.edge.is_some(), "{}", fault.name);
            assert_eq!(fault.expected.kind == Kind::Network, fault.expected.direction.is_some(), "{}", fault.name);
        }
    }

    #[test]
    fn switches_are_read_as_they_are_written() {
        for (text, shown) in [
            ("slow-database", Ok("slow-database")),
            ("slow-database=inventory-db", Ok("slow-database")),
            ("slow-database=orders-db", Ok("slow-database=orders-db")),
            ("slow-database=mail-db", Err("slow-database has no setting `mail-db`; it has inventory-db, orders-db")),
        ] {
            let switch = text.parse::<Switch>().map(|switch| switch.to_string()).map_err(|error| error.to_string());
            assert_eq!(switch.as_deref().map_err(String::as_str), shown);
        }
        assert!("fire".parse::<Switch>().unwrap_err().to_string().contains("slow-database"));
    }

    #[test]
    fn a_switch_keeps_its_setting_while_it_is_off() {
        let switches = Switches::default();
        let orders: Switch = "slow-database=orders-db".parse().unwrap();
        assert!(switches.set(orders, true).on && switches.setting(orders.fault) == Some("orders-db"));
        let off = switches.set(orders, false);
        assert!(!off.on && off.setting == Some("orders-db") && switches.setting(orders.fault).is_none());
    }
}
