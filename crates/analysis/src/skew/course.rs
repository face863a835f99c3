//! The offset of a clock as a function of time: straight pieces with steps or kinks between them.

/// Movements that differ by less are the same.
const MOVES_ALIKE_NS: f64 = 200_000.0;

/// Breaks that are less apart than this, beside what they may be wrong by, may be the same.
const SAME_BREAK_NS: f64 = 1e9;

/// A straight piece. Times are nanoseconds since the first pair, offsets nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    /// Where it begins; the first piece also holds for everything before.
    pub from: f64,
    /// How well that is known.
    pub from_error: f64,
    /// Offset at `from`.
    pub offset: f64,
    /// How well it is known, two standard errors.
    pub offset_error: f64,
    /// Nanoseconds of offset gained in each nanosecond.
    pub slope: f64,
    /// How well it is known, two standard errors.
    pub slope_error: f64,
}

/// Pieces in order of time, at least one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Course {
    pieces: Vec<Piece>,
}

/// A jump between two pieces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Jump {
    pub at: f64,
    pub at_error: f64,
    pub by: f64,
    pub by_error: f64,
}

impl Piece {
    pub(super) fn at(&self, time: f64) -> f64 {
        self.offset + self.slope * (time - self.from)
    }
}

impl Course {
    pub(super) fn constant(offset: f64) -> Self {
        let piece = Piece { from: 0.0, from_error: 0.0, offset, offset_error: 0.0, slope: 0.0, slope_error: 0.0 };
        Self { pieces: vec![piece] }
    }

    /// Of pieces in order of time; `None` without any.
    pub(super) fn new(pieces: Vec<Piece>) -> Option<Self> {
        (!pieces.is_empty()).then_some(Self { pieces })
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// True when the offset is the same at all times.
    pub(super) fn is_constant(&self) -> bool {
        self.pieces.len() == 1 && self.pieces[0].slope == 0.0
    }

    /// How much there is to tell about the course.
    pub(super) fn complexity(&self) -> usize {
        self.pieces.len() + usize::from(self.pieces.iter().any(|piece| piece.slope != 0.0))
    }

    /// True when the difference to another course stays about the same until `end`.
    pub(super) fn moves_like(&self, other: &Course, end: f64) -> bool {
        let breaks: Vec<&Piece> = self.pieces[1..].iter().chain(&other.pieces[1..]).collect();
        let begin = self.pieces[0].from.min(other.pieces[0].from);
        let around = breaks.iter().flat_map(|piece| {
            let margin = 2.0 * piece.from_error + SAME_BREAK_NS;
            [piece.from - margin, piece.from + margin]
        });
        let times: Vec<f64> = around.chain([begin, end]).collect();
        // A break that both have is not found at the same moment by both.
        let calm =
            |time: f64| breaks.iter().all(|piece| (piece.from - time).abs() >= 2.0 * piece.from_error + SAME_BREAK_NS);
        let range = |of: &dyn Fn(f64) -> f64, only_calm: bool| {
            let values = times.iter().filter(|time| !only_calm || calm(**time)).map(|time| of(*time));
            let (least, most) =
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
            (most - least).max(0.0)
        };
        let moves = range(&|time| self.at(time), false).max(range(&|time| other.at(time), false));
        range(&|time| self.at(time) - other.at(time), true) <= MOVES_ALIKE_NS + moves / 10.0
    }

    /// How far off it may be at any time until `end`, two standard errors.
    pub(super) fn error(&self, end: f64) -> f64 {
        let errors = self.pieces.iter().enumerate().map(|(place, piece)| {
            let until = self.pieces.get(place + 1).map_or(end, |next| next.from);
            piece.offset_error.max(piece.offset_error + piece.slope_error * (until - piece.from) / 2.0)
        });
        errors.fold(0.0, f64::max)
    }

    pub(super) fn at(&self, time: f64) -> f64 {
        if let [only] = self.pieces.as_slice() {
            return only.at(time);
        }
        let after = self.pieces.partition_point(|piece| piece.from <= time);
        self.pieces[after.saturating_sub(1)].at(time)
    }

    pub(super) fn raise(&mut self, by: f64) {
        self.pieces.iter_mut().for_each(|piece| piece.offset += by);
    }

    /// The sum of two courses.
    pub(super) fn plus(&self, other: &Course) -> Course {
        if self.is_constant() || other.is_constant() {
            let (constant, mut moving) = if self.is_constant() { (self, other.clone()) } else { (other, self.clone()) };
            moving.raise(constant.pieces[0].offset);
            return moving;
        }
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len() + other.pieces.len());
        let (mut left, mut right) = (self.pieces.iter().peekable(), other.pieces.iter().peekable());
        let (mut a, mut b) = (self.pieces[0], other.pieces[0]);
        while left.peek().is_some() || right.peek().is_some() {
            let left_first = match (left.peek(), right.peek()) {
                (Some(one), Some(two)) => one.from <= two.from,
                (one, _) => one.is_some(),
            };
            let Some(begins) = (if left_first { left.next() } else { right.next() }) else { break };
            *(if left_first { &mut a } else { &mut b }) = *begins;
            let from = begins.from;
            pieces.push(Piece {
                from,
                from_error: begins.from_error,
                offset: a.at(from) + b.at(from),
                offset_error: a.offset_error.hypot(b.offset_error),
                slope: a.slope + b.slope,
                slope_error: a.slope_error.hypot(b.slope_error),
            });
        }
        // Both begin somewhere: what precedes the later of the two first pieces is not a break.
        let begin = self.pieces[0].from.max(other.pieces[0].from);
        let first = pieces.partition_point(|piece| piece.from < begin);
        if first > 0 && first < pieces.len() {
            pieces.drain(..first);
        }
        Course { pieces }
    }

    /// The jumps that are larger than their error.
    pub(super) fn jumps(&self) -> impl Iterator<Item = Jump> + '_ {
        self.pieces.windows(2).filter_map(|pair| {
            let by = pair[1].offset - pair[0].at(pair[1].from);
            let by_error = pair[0].offset_error.hypot(pair[1].offset_error);
            (by.abs() > by_error).then_some(Jump { at: pair[1].from, at_error: pair[1].from_error, by, by_error })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(from: f64, offset: f64, slope: f64) -> Piece {
        Piece { from, from_error: 1.0, offset, offset_error: 0.5, slope, slope_error: 0.0 }
    }

    #[test]
    fn a_sum_has_the_breaks_of_both_and_is_the_sum_everywhere() {
        let one = Course::new(vec![piece(0.0, 1.0, 0.5), piece(10.0, 20.0, 0.5)]).unwrap();
        let two = Course::new(vec![piece(2.0, 5.0, -0.25), piece(30.0, -7.0, 0.0)]).unwrap();
        let sum = one.plus(&two);
        for time in [2.0, 5.0, 9.0, 10.0, 29.0, 30.0, 50.0] {
            assert!((sum.at(time) - one.at(time) - two.at(time)).abs() < 1e-9, "{time}");
        }
        assert_eq!(sum.jumps().map(|jump| jump.at).collect::<Vec<_>>(), [10.0, 30.0]);
        assert!(one.plus(&Course::constant(3.0)).at(20.0) == one.at(20.0) + 3.0);
    }
}
