//! The demo's switches, as the server sees them: a trait, so that the server knows no shop.
//!
//! Whoever runs a demo beside the server hands over a [`DemoControl`] with
//! [`Running::with_demo`](crate::Running::with_demo); `GET /api/v1/demo` and `POST /api/v1/demo/faults/{name}` ask it.
//! Without one they answer 404.

use serde::Serialize;

/// A running demo whose faults can be switched.
pub trait DemoControl: Send + Sync + 'static {
    /// The demo as it is now.
    fn state(&self) -> DemoState;

    /// Switches one fault; `setting` chooses between its variants. Answers the fault as it is afterwards.
    ///
    /// # Errors
    ///
    /// [`SwitchError`] where the fault or its setting does not exist; nothing has changed then.
    fn switch(&self, name: &str, on: bool, setting: Option<&str>) -> Result<DemoFault, SwitchError>;
}

/// Why a fault was not switched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// There is no fault of that name. The message names those that there are.
    #[error("{0}")]
    UnknownFault(String),
    /// The fault has no such setting. The message names those that it has.
    #[error("{0}")]
    InvalidSetting(String),
}

/// What a demo is and does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoState {
    /// Services with a name of their own.
    pub services: usize,
    /// Instances of all services together.
    pub instances: usize,
    /// Requests per second, on average.
    pub requests_per_second: f64,
    /// The services of the longest path, from the first to the last: `chain[9]` is the tenth.
    pub chain: Vec<String>,
    /// Every fault, in the order in which they are best shown.
    pub faults: Vec<DemoFault>,
}

/// A fault and whether it is on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoFault {
    /// What it is switched by, such as `slow-query`.
    pub name: String,
    /// A few words.
    pub title: String,
    /// What it changes in the shop.
    pub description: String,
    /// What to look at while it is on.
    pub look: String,
    /// TraceQL that finds the traces that it changes.
    pub query: String,
    /// Whether it is on.
    pub on: bool,
    /// The variant that is on, or would be; null where there is only one.
    pub setting: Option<String>,
    /// Its variants; empty where there is only one.
    pub settings: Vec<String>,
    /// The services where something changes.
    pub services: Vec<String>,
    /// What an analysis of the traces has to find.
    pub verdict: DemoVerdict,
}

/// What an analysis of the traces has to find while a fault is on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoVerdict {
    /// In words.
    pub sentence: String,
    /// What kind of problem, such as `slow-operation`.
    pub kind: String,
    /// The service to blame.
    pub service: Option<String>,
    /// The hop to blame.
    pub edge: Option<DemoEdge>,
    /// Which way of the hop: `request` or `response`.
    pub direction: Option<String>,
    /// The operation to blame: a span's name.
    pub operation: Option<String>,
    /// The statement to blame: `db.query.text`.
    pub statement: Option<String>,
    /// The attribute that tells the bad from the good.
    pub attribute: Option<DemoAttribute>,
}

/// A hop from one service to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoEdge {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
}

/// An attribute with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoAttribute {
    /// Its key, with its scope: `resource.service.version`.
    pub key: String,
    /// Its value.
    pub value: String,
}
