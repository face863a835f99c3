//! Which span each thread is in, for the subscriber of this crate.

use std::cell::RefCell;

use crate::slab::SlotId;

/// Spans of every service of the process that this thread has entered, innermost last.
type Stack = Vec<(SlotId, u32)>;

thread_local! {
    static STACK: RefCell<Stack> = const { RefCell::new(Vec::new()) };
}

/// `owner` is the number of the service whose span it is: within another one it is not current.
pub(crate) fn enter(id: SlotId, owner: u32) {
    // While the thread ends there is nobody left to ask.
    let _ = STACK.try_with(|stack| stack.borrow_mut().push((id, owner)));
}

/// Leaves a span; it need not be the innermost.
pub(crate) fn exit(id: SlotId) {
    let _ = STACK.try_with(|stack| {
        let stack = &mut *stack.borrow_mut();
        if stack.last().is_some_and(|(last, _)| *last == id) {
            stack.pop();
        } else if let Some(at) = stack.iter().rposition(|(entered, _)| *entered == id) {
            stack.remove(at);
        }
    });
}

/// The innermost span of that service.
pub(crate) fn current(owner: u32) -> Option<SlotId> {
    let found = STACK.try_with(|stack| {
        let stack = stack.borrow();
        stack.iter().rev().find(|(_, of)| *of == owner).map(|(id, _)| *id)
    });
    found.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab;

    #[test]
    fn the_innermost_span_of_the_service_is_current() {
        let ids: Vec<_> = (0..3).map(|_| slab::open(|open| open.handles = 1).unwrap()).collect();
        let [a, b, c] = ids[..] else { unreachable!() };
        enter(a, 1);
        enter(b, 2);
        enter(c, 1);
        enter(a, 1);
        assert_eq!((current(1), current(2), current(3)), (Some(a), Some(b), None));
        exit(c);
        exit(a);
        assert_eq!(current(1), Some(a), "entered twice, left once");
        exit(a);
        assert_eq!((current(1), current(2)), (None, Some(b)));
        exit(b);
        assert!(ids.into_iter().all(|id| slab::release(id, |_| ())));
    }
}
