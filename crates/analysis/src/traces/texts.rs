//! Texts numbered in order of their first appearance.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(pub u32);

impl Text {
    /// The empty text, which stands for what is not known.
    pub const EMPTY: Text = Text(0);

    /// True for the empty text.
    pub fn is_empty(self) -> bool {
        self == Text::EMPTY
    }
}

/// Texts by number, each once.
#[derive(Debug, Clone)]
pub struct Texts {
    numbers: HashMap<Arc<str>, Text, RandomState>,
    texts: Vec<Arc<str>>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self { numbers: HashMap::default(), texts: Vec::new() };
        texts.number("");
        texts
    }
}

impl Texts {
    /// The number of a text, a new one if need be.
    pub fn number(&mut self, text: &str) -> Text {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let shared: Arc<str> = Arc::from(text);
        let number = Text(self.texts.len() as u32);
        self.texts.push(Arc::clone(&shared));
        self.numbers.insert(shared, number);
        number
    }

    /// The number of a text, if it occurs.
    pub fn find(&self, text: &str) -> Option<Text> {
        self.numbers.get(text).copied()
    }

    /// The text with a number; empty for a number that was never given.
    pub fn get(&self, text: Text) -> &str {
        self.texts.get(text.0 as usize).map_or("", |text| text)
    }

    /// The text with a number, to be kept.
    pub fn shared(&self, text: Text) -> Arc<str> {
        self.texts.get(text.0 as usize).cloned().unwrap_or_default()
    }

    /// How many texts there are, the empty one among them.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Never: the empty text is always there.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}
