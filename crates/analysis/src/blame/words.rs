//! Changes in sentences.

use super::{Change, Direction, Standing, Subject};
use crate::patterns::time;

/// A time with its sign.
fn signed(ns: f64) -> String {
    format!("{}{}", if ns < 0.0 { "−" } else { "+" }, time(ns.abs()))
}

fn name(subject: &Subject) -> String {
    match subject {
        Subject::Edge { caller, callee, direction } => {
            let way = match direction {
                Some(Direction::Request) => ", on the way there",
                Some(Direction::Response) => ", on the way back",
                None => "",
            };
            format!("{caller} → {callee}{way}")
        }
        Subject::Statement { service, statement } => format!("`{}` of {service}", shortened(statement)),
        Subject::Operation { service, operation } => format!("{operation} in {service}"),
        Subject::Service { service } => service.clone(),
    }
}

/// The beginning of a text, cut at a character.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn count(calls: f64) -> String {
    let digits = if calls < 10.0 && (calls - calls.round()).abs() > 0.005 { 2 } else { 0 };
    format!("{calls:.digits$}")
}

/// What changed, by how much, and whether by more calls or by longer ones.
pub(super) fn sentence(change: &Change) -> String {
    let (name, before, now) = (name(&change.subject), &change.before, &change.now);
    match change.standing {
        Standing::New => {
            let (each, calls) = (time(now.per_call_ns), count(now.calls));
            return format!("{name} is new: {} per request ({calls} × {each})", time(now.mean_ns));
        }
        Standing::Gone => return format!("{name} is gone: it took {} per request", time(before.mean_ns)),
        Standing::Both => {}
    }
    let beyond = change.beyond_mix_ns();
    let why = if change.calls_ns.abs() > change.per_call_ns.abs() {
        format!("{} calls instead of {}", count(now.calls), count(before.calls))
    } else {
        format!("{} instead of {} each", time(now.per_call_ns), time(before.per_call_ns))
    };
    let doubt = if change.significant { "" } else { "; it may be chance" };
    format!("{name}: {} per request, {why}{}{doubt}", signed(beyond), share(change.share))
}

/// What part of the change it is; nothing for what is not a hundredth of it, or goes against it.
fn share(share: f64) -> String {
    if share < 0.005 { String::new() } else { format!(" ({:.0} % of the change)", share * 100.0) }
}
