//! A table of texts: one buffer, and where each text ends.

/// Many texts in one allocation, addressed by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrTable {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// A [`StrTable`] that is being filled.
pub type StrTableBuilder = StrTable;

impl StrTable {
    /// An empty table with room for `texts` texts of `bytes` bytes together.
    pub fn with_capacity(texts: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(texts) }
    }

    /// Appends a text and returns its number.
    pub fn push(&mut self, text: &str) -> u32 {
        self.bytes.extend_from_slice(text.as_bytes());
        let number = self.ends.len() as u32;
        self.ends.push(self.bytes.len() as u32);
        number
    }

    /// The bytes of text `number`; empty if there is none.
    #[inline]
    pub fn bytes(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let Some(end) = self.ends.get(number) else { return &[] };
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start as usize..*end as usize]
    }

    /// Text `number`; empty if there is none.
    #[inline]
    pub fn get(&self, number: u32) -> &str {
        // Only `push` and `from_parts` fill the table, and both take nothing but UTF-8.
        std::str::from_utf8(self.bytes(number)).unwrap_or_default()
    }

    /// A table from its parts; `None` if an end is out of order or a text is not UTF-8.
    pub fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Option<Self> {
        let mut start = 0u32;
        let ascii = bytes.is_ascii();
        if !ascii {
            std::str::from_utf8(&bytes).ok()?;
        }
        for end in &ends {
            if *end < start || *end as usize > bytes.len() {
                return None;
            }
            // Within valid UTF-8, a cut is good exactly where it does not split a character.
            if !ascii && bytes.get(*end as usize).is_some_and(|byte| byte & 0xC0 == 0x80) {
                return None;
            }
            start = *end;
        }
        Some(Self { bytes, ends })
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all texts together.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len()
    }

    /// All texts in order of their number.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|number| self.get(number))
    }
}
