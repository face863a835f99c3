//! From evidence to the likely cause, with its reasons in words.
//!
//! The tests are asked in order of how much they prove: a threshold in the trace ids cannot come about by chance, a
//! uniform loss of single calls may come about in every way.

use super::evidence::{Culprit, Evidence};
use super::{Cause, stats};

/// What was concluded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub cause: Cause,
    pub confidence: f64,
    pub reasons: Vec<String>,
}

/// What is known beside the evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// How to speak of the callee.
    pub callee: &'a str,
    /// No span of the callee was ever seen.
    pub unseen: bool,
    /// All that is lost is lost in the newest seconds.
    pub late: bool,
    /// What hangs below missing spans.
    pub below: &'a [String],
}

/// Lost calls of which at least so many must have something below before orphans count as a sign.
const ORPHANS_MIN: usize = 3;

pub(super) fn judge(evidence: &Evidence, setting: Setting<'_>) -> Verdict {
    let mut reasons = Vec::new();
    let callee = setting.callee;
    let share = evidence.lost as f64 / evidence.calls.max(1) as f64;
    let orphaned = evidence.orphans >= ORPHANS_MIN && 20 * evidence.orphans >= evidence.lost;
    let below = setting.below.join(", ");
    if orphaned {
        let (orphans, lost) = (evidence.orphans, evidence.lost);
        reasons
            .push(format!("below {orphans} of {lost} lost calls, spans of {below} name a parent that nobody recorded"));
    }
    let stray = evidence.fragments.round();
    let stripped = stray >= ORPHANS_MIN as f64 && 10.0 * stray >= evidence.lost as f64;
    if stripped && evidence.by_number {
        reasons.push(format!(
            "as many traces begin in {callee} as calls got no answer; too much is under way at once to pair them by time"
        ));
    } else if stripped {
        reasons.push(format!(
            "{stray} traces of their own lie within lost calls and nearly fill them, beyond what chance does"
        ));
    }
    if let Some(Culprit::Caller(instance)) = &evidence.culprit {
        reasons.push(format!("all of it at the caller's instance {instance}"));
    } else if let Some(Culprit::Callee(instance)) = &evidence.culprit {
        reasons.push(format!("all of it at the callee's instance {instance}"));
    }
    let (cause, confidence) = if setting.late {
        reasons.push("only the newest seconds are concerned: what is missing may still come".to_owned());
        (Cause::Late, 0.7)
    } else if setting.unseen {
        unseen(setting, orphaned, stripped, &mut reasons)
    } else if stripped {
        (Cause::HeaderStripped, if evidence.by_number { 0.6 } else { 0.95 })
    } else {
        rest(evidence, setting, orphaned, share, &mut reasons)
    };
    // Few lost calls prove little, whatever they say.
    let enough = 1.0 - (-(evidence.lost as f64) / 5.0).exp();
    Verdict { cause, confidence: (confidence * enough * 100.0).round() / 100.0, reasons }
}

fn unseen(setting: Setting<'_>, orphaned: bool, stripped: bool, reasons: &mut Vec<String>) -> (Cause, f64) {
    let callee = setting.callee;
    reasons.push(format!("no span of {callee} was ever seen"));
    let confidence = match (orphaned, stripped) {
        (true, _) => {
            reasons
                .push("it passes the context on, so that it may be instrumented but export nothing to here".to_owned());
            0.85
        }
        (_, true) => {
            reasons.push("it does not pass the context on".to_owned());
            0.9
        }
        _ => {
            reasons.push("it has an address like a service of this system and nothing is seen below it".to_owned());
            0.5
        }
    };
    (Cause::NotInstrumented, confidence)
}

fn rest(
    evidence: &Evidence,
    setting: Setting<'_>,
    orphaned: bool,
    share: f64,
    reasons: &mut Vec<String>,
) -> (Cause, f64) {
    let callee = setting.callee;
    let consistent = evidence.several >= 5
        && evidence.mixed_by_chance >= 5.0
        && (evidence.mixed as f64) < 0.1 * evidence.mixed_by_chance;
    let independent =
        evidence.several >= 5 && evidence.mixed >= 3 && evidence.mixed as f64 > 0.4 * evidence.mixed_by_chance;
    let dropped = Cause::DroppedByExporter;
    // One instance of which nothing arrives at all takes its share of the calls along.
    let lost = stats::wilson(evidence.lost, evidence.calls, 2.0);
    let one_more = 1.0 / (evidence.instances + 1) as f64;
    let silent_instance = evidence.instances > 0 && lost.low <= one_more && one_more <= lost.high;
    if evidence.threshold_rises {
        reasons.push(format!("the tracestate of {callee} names a higher sampling threshold than that of its caller"));
        return (Cause::Sampled, 0.98);
    }
    if let Some(bits) = evidence.divided_by {
        reasons.push(format!("a threshold of {bits} divides the traces that were kept from those that were lost"));
        return (Cause::Sampled, 0.98);
    }
    if orphaned {
        return (dropped, 0.9);
    }
    if let Some(change) = evidence.change
        && change.after > 0.97
        && change.before < 0.5 * share.max(0.1)
    {
        reasons.push("everything is lost from one moment on".to_owned());
        return (dropped, 0.85);
    }
    if matches!(evidence.culprit, Some(Culprit::Callee(_))) {
        return (dropped, 0.85);
    }
    if evidence.bursts_z > stats::STRICT_Z {
        reasons.push("the losses come in bursts".to_owned());
        return (dropped, 0.8);
    }
    if consistent {
        let several = evidence.several;
        reasons.push(format!("of {several} traces with several calls, each keeps all of them or none"));
        return (Cause::Sampled, 0.9);
    }
    if independent {
        let (mixed, several) = (evidence.mixed, evidence.several);
        reasons.push(format!("{mixed} of {several} traces with several calls keep some and lose others"));
        return (dropped, 0.75);
    }
    if evidence.orphans_expected >= 5.0 && (evidence.orphans as f64) < 0.05 * evidence.orphans_expected {
        if share > 0.995 {
            reasons.push("neither its spans nor what they cause is there, in this trace or any other".to_owned());
            return (Cause::Unknown, 0.3);
        }
        reasons.push("everything below the lost calls is missing as well".to_owned());
        return (Cause::Sampled, 0.85);
    }
    if share > 0.995 {
        return (Cause::Unknown, 0.3);
    }
    let whole = evidence.remains_expected >= 5.0 && !orphaned;
    if whole && !silent_instance {
        reasons.push("where a call is lost, everything that the callee does for it is".to_owned());
        return (Cause::Sampled, 0.55);
    }
    if silent_instance {
        let instances = evidence.instances + 1;
        reasons.push(format!("as much is lost as if one of {instances} instances sent nothing"));
        return (dropped, 0.5);
    }
    reasons
        .push("the losses follow neither time, instance nor trace: this could be sampling as well as loss".to_owned());
    if share >= 0.5 { (Cause::Sampled, 0.4) } else { (dropped, 0.4) }
}
