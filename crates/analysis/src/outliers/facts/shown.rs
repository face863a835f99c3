//! Ascending numbers of traces.

/// The traces that show something. Most of what is seen is seen once, and costs no allocation.
#[derive(Debug, Clone, Default)]
pub(in crate::outliers) struct Shown {
    first: Option<u32>,
    more: Vec<u32>,
}

impl Shown {
    /// Adds a trace, which is the last or a later one.
    pub(super) fn push(&mut self, trace: u32) {
        match self.first {
            None => self.first = Some(trace),
            Some(first) if self.more.last().copied().unwrap_or(first) != trace => self.more.push(trace),
            Some(_) => {}
        }
    }

    pub(in crate::outliers) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(in crate::outliers) fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    pub(super) fn to_vec(&self) -> Vec<u32> {
        self.iter().collect()
    }
}

/// The traces that are in any of several lists. Sorting finds the ascending lists by itself, and merges them.
pub(super) fn union<'a>(lists: impl Iterator<Item = &'a Shown>) -> Vec<u32> {
    let mut all: Vec<u32> = lists.flat_map(Shown::iter).collect();
    all.sort();
    all.dedup();
    all
}
