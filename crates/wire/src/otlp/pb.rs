//! The protobuf wire format, read from a borrowed slice.
//!
//! Only what every message needs: varints, fixed-width numbers, length-delimited fields, and skipping
//! whatever is not known (groups included). See the "Encoding" chapter of the Protocol Buffers guide.

use crate::Problem;

/// Groups may nest this deep inside unknown fields.
const GROUP_DEPTH_MAX: usize = 64;

pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;
pub(crate) const FIXED32: u32 = 5;

/// The header of field number `field` in wire type `wire`, as it stands in the bytes (a varint).
pub(crate) const fn tag(field: u32, wire: u32) -> u32 {
    field << 3 | wire
}

/// Reads one message from front to back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            [low, rest @ ..] if *low < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low))
            }
            // Lengths of spans and of long values: two bytes.
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Problem> {
        let mut number = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            if index == 9 && *byte > 1 {
                return Err(Problem::VarintTooLong);
            }
            number |= u64::from(*byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { Problem::Truncated } else { Problem::VarintTooLong })
    }

    /// The next field's header, or `None` at the end of the message.
    #[inline(always)]
    pub(crate) fn tag(&mut self) -> Result<Option<u32>, Problem> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        match u32::try_from(tag) {
            Ok(tag) if tag >= 8 => Ok(Some(tag)),
            _ => Err(Problem::BadTag),
        }
    }

    /// A length-delimited payload. The length is only believed if that many bytes are there.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Problem> {
        let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
        let (payload, rest) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(payload)
    }

    #[inline(always)]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Problem> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Problem> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// Passes over the value of a field that is not among the message's `known` field numbers (a bit
    /// each). A known field that arrives here has the wrong wire type, which is an error: passing
    /// over it would turn a message of another kind into an empty one of this kind.
    #[inline(never)]
    pub(crate) fn skip_unknown(&mut self, tag: u32, known: u32) -> Result<(), Problem> {
        let field = tag >> 3;
        if field < 32 && known >> field & 1 == 1 {
            return Err(Problem::WireType { field, found: (tag & 7) as u8 });
        }
        self.skip(tag)
    }

    /// Passes over the value that belongs to `tag`.
    #[inline(always)]
    pub(crate) fn skip(&mut self, tag: u32) -> Result<(), Problem> {
        match tag & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => self.fixed32().map(drop),
            GROUP_START => self.skip_group(tag >> 3),
            GROUP_END => Err(Problem::UnmatchedGroup),
            _ => Err(Problem::BadTag),
        }
    }

    #[cold]
    fn skip_group(&mut self, field: u32) -> Result<(), Problem> {
        let mut open = [0u32; GROUP_DEPTH_MAX];
        open[0] = field;
        let mut depth = 1;
        while depth > 0 {
            let tag = self.tag()?.ok_or(Problem::UnmatchedGroup)?;
            match tag & 7 {
                GROUP_START => {
                    *open.get_mut(depth).ok_or(Problem::TooDeep)? = tag >> 3;
                    depth += 1;
                }
                GROUP_END if open.get(depth - 1) == Some(&(tag >> 3)) => depth -= 1,
                GROUP_END => return Err(Problem::UnmatchedGroup),
                _ => self.skip(tag)?,
            }
        }
        Ok(())
    }
}

/// Remembers from where to where the occurrences of a repeated field stand in a message, so that a
/// later walk over them need not pass the message's other fields again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// Bytes that remained before the first occurrence's header; 0 if there is none.
    before_first: usize,
    /// Bytes that remained after the last occurrence.
    after_last: usize,
}

impl Extent {
    /// Notes an occurrence: bytes remaining before its header and after its value.
    #[inline(always)]
    pub(crate) fn note(&mut self, before: usize, after: usize) {
        if self.before_first == 0 {
            self.before_first = before;
        }
        self.after_last = after;
    }

    /// The part of `message` from the first occurrence to the last; empty if there is none.
    #[inline(always)]
    pub(crate) fn of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(message.len() - self.before_first..message.len() - self.after_last).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.before_first == 0
    }
}

/// The payloads of one length-delimited repeated field, in order; other fields are passed over.
/// After an error it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payloads<'a> {
    reader: Reader<'a>,
    tag: u32,
}

impl<'a> Payloads<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], field: u32) -> Self {
        Self { reader: Reader::new(bytes), tag: tag(field, BYTES) }
    }

    /// The payloads of field number `field` in what `reader` has not read yet.
    pub(crate) fn of(reader: Reader<'a>, field: u32) -> Self {
        Self { reader, tag: tag(field, BYTES) }
    }

    #[inline(always)]
    fn step(&mut self) -> Result<Option<&'a [u8]>, Problem> {
        while let Some(tag) = self.reader.tag()? {
            if tag == self.tag {
                return self.reader.bytes().map(Some);
            }
            if tag >> 3 == self.tag >> 3 {
                return Err(Problem::WireType { field: tag >> 3, found: (tag & 7) as u8 });
            }
            self.reader.skip(tag)?;
        }
        Ok(None)
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<&'a [u8], Problem>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(payload) => payload.map(Ok),
            Err(problem) => {
                self.reader = Reader::new(&[]);
                Some(Err(problem))
            }
        }
    }
}
