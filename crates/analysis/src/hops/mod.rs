//! The hop split: where between two services the time goes, what changed there, and whose fault that is.
//!
//! It is: calls split into request, server and response ([`split()`]), their distributions by edge and minute
//! ([`edges`]), a test of one window against another ([`compare`], [`changes`]) and the place that explains what grew
//! ([`Location`]). It is not: the correction of clocks (hand in corrected traces), nor the ranking of causes over all
//! kinds of evidence.
//!
//! ```text
//! Traces ─ split ─▶ HopCall ─┬─ edges ──▶ EdgeMinute (sketches: also what the store's rollups hold)
//!                            └─ samples ─▶ EdgeSamples ─┐
//! rollups of the store ────────────────▶ EdgeSamples ─┴─ compare ─▶ HopChange ─ locate ─▶ Location
//! ```
//!
//! **Split.** [`tracewell_model::call`] says how spans become calls. Request and response are read from two clocks; they
//! are kept signed, and [`HopCall::is_skewed`] marks those below zero. Waiting for a connection is told apart where the
//! client says so ([`HopCall::client_queue_ns`]).
//!
//! **Change.** For each edge the parts `request`, `response`, `network` (their sum), `own` (the callee's time without
//! its calls), `queue`, `call` (the whole, where only the caller is known) and `server` are tested, one window against
//! the other, with the Mann–Whitney test and the Hodges–Lehmann shift ([`rank`]); the calls that are slower than 95 % of
//! those before are counted too, for what hits only some calls. At least five calls on each side. Of all tests the false
//! discovery rate is held (Benjamini and Hochberg, 1995); a change also has to matter: an absolute and a relative
//! minimum. For the network parts, an edge with few calls before (under twenty, or none) is compared with those of its neighbours
//! (same caller or same callee) where its median exceeds nineteen of twenty of theirs and its own few.
//!
//! **Clocks.** `network` is free of clock offsets. `request` alone is off by a constant as long as the offset between the
//! two clocks is: a *shift* of it can be tested on clocks that are off, its value cannot be believed. When the offset
//! itself moves, request and response move by as much in opposite directions and the network does not: that is told as
//! [`Verdict::Clock`] and blames nobody.
//!
//! **Place.** Only own parts blame: the network of an edge, the own time of a service, the queue. A caller whose server
//! time grew because its callee's did has no own part that grew. One edge → the link; all edges into a service, or all
//! that touch it → its network; its own time too → the service; all edges across a boundary of zones, nodes or hosts, and none
//! within → the zone.
//!
//! **Edge cases.** Traces without times, one-sided calls, several callees of one client: see [`tracewell_model::call`].
//! Windows without traces give no change. Equal windows give none.
//! **Cost.** O(n log n) in calls; the tests are O(n log n) in the calls of an edge, whatever the number of edges.

mod changes;
mod compare;
mod edges;
mod locate;
pub mod rank;
mod samples;
mod split;
mod waits;
mod zones;

pub use changes::{Change, HopChange, HopChanges, Options, Part, Quantiles, Tail, Verdict};
pub use compare::{changes, compare};
pub use edges::{EdgeMinute, edges};
pub use locate::{Boundary, Direction, EdgeName, Location, LocationKind};
pub use rank::Sample;
pub use samples::{EdgeSamples, EdgeSketches, Grouping, samples};
pub use split::{Hop, HopCall, of_trace, split};
pub use tracewell_model::call::Seen;
pub use zones::Site;
