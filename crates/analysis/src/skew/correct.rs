//! Traces as they would be with clocks that agree.

use super::Clocks;
use crate::{NO_SPAN, Traces};

/// A copy of the traces with the offsets of the clocks taken out: see [`correct_in_place`].
pub fn correct(traces: &Traces, clocks: &Clocks) -> Traces {
    let mut corrected = traces.clone();
    correct_in_place(&mut corrected, clocks);
    corrected
}

/// Takes the offsets of the clocks out of the traces: starts, ends and log records move by the offset of their clock,
/// durations stay. Siblings are sorted anew, so that every trace stands in preorder with children in order of their
/// start, as ever; **numbers of spans change** where that moves a span before another. Without offsets nothing changes.
pub fn correct_in_place(traces: &mut Traces, clocks: &Clocks) {
    if clocks.agree() {
        return;
    }
    let corrections: Vec<i64> = traces.spans.iter().map(|span| clocks.correction_ns(span)).collect();
    for log in &mut traces.logs {
        if log.span != NO_SPAN {
            log.time_ns = shifted(log.time_ns, corrections[log.span as usize]);
        }
    }
    for (span, correction) in traces.spans.iter_mut().zip(&corrections) {
        let duration = span.end_ns - span.start_ns;
        // 0 stands for "not known".
        span.start_ns = shifted(span.start_ns, *correction).max(1);
        span.end_ns = span.start_ns.saturating_add(duration);
    }
    let mut numbers: Vec<u32> = Vec::new();
    for trace in 0..traces.traces.len() {
        let (spans, logs) =
            (traces.traces[trace].spans(), traces.traces[trace].logs_first..traces.traces[trace].logs_end);
        if corrections[spans.clone()].iter().all(|correction| *correction == 0) {
            continue;
        }
        let order = in_order(traces, spans.clone());
        if let Some(order) = order {
            if numbers.is_empty() {
                numbers = (0..traces.spans.len() as u32).collect();
            }
            for (place, old) in order.iter().enumerate() {
                numbers[*old] = (spans.start + place) as u32;
            }
            let old: Vec<_> = order.iter().map(|old| traces.spans[*old]).collect();
            traces.spans[spans.clone()].copy_from_slice(&old);
            for span in &mut traces.spans[spans] {
                if span.parent != NO_SPAN {
                    span.parent = numbers[span.parent as usize];
                }
            }
        }
        let logs = &mut traces.logs[logs.start as usize..logs.end as usize];
        logs.sort_by_key(|log| log.time_ns);
    }
    if !numbers.is_empty() {
        let renumber = |span: &mut u32| *span = numbers.get(*span as usize).copied().unwrap_or(*span);
        traces.logs.iter_mut().for_each(|log| renumber(&mut log.span));
        traces.links.iter_mut().for_each(|link| renumber(&mut link.span));
        traces.links.sort_by_key(|link| link.span);
    }
}

fn shifted(time_ns: u64, correction_ns: i64) -> u64 {
    time_ns.saturating_add_signed(correction_ns.saturating_neg())
}

/// The numbers of a trace's spans in preorder with siblings by start; `None` if they stand so already.
fn in_order(traces: &Traces, spans: std::ops::Range<usize>) -> Option<Vec<usize>> {
    let all = &traces.spans;
    let after = |span: usize| span + 1 + all[span].descendants as usize;
    // A sibling follows the subtree of the one before it.
    let is_ordered = spans.clone().all(|span| {
        let next = after(span);
        next >= spans.end || all[next].parent != all[span].parent || all[span].start_ns <= all[next].start_ns
    });
    if is_ordered {
        return None;
    }
    let siblings = |first: usize, end: usize| {
        let mut siblings = Vec::new();
        let mut next = first;
        while next < end {
            siblings.push(next);
            next = after(next);
        }
        // The last one is taken first.
        siblings.sort_by_key(|span| std::cmp::Reverse((all[*span].start_ns, *span)));
        siblings
    };
    let mut order = Vec::with_capacity(spans.len());
    let mut stack = siblings(spans.start, spans.end);
    while let Some(span) = stack.pop() {
        order.push(span);
        if all[span].descendants > 0 {
            stack.extend(siblings(span + 1, after(span)));
        }
    }
    Some(order)
}
