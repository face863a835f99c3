//! Numbers for keys, the same ones for several sets of traces.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use super::{Direction, Subject};
use crate::{Text, Texts, Traces};

/// Things numbered in order of their first appearance.
#[derive(Debug)]
pub(super) struct Numbered<K> {
    numbers: HashMap<K, u32, RandomState>,
    known: Vec<K>,
}

impl<K> Default for Numbered<K> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), known: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash> Numbered<K> {
    pub(super) fn number(&mut self, key: K) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.known.push(key);
            self.known.len() as u32 - 1
        })
    }

    pub(super) fn get(&self, number: u32) -> K {
        self.known[number as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// What a nanosecond of a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Operation(Text, Text),
    Way(Text, Text, Direction),
}

/// All keys of all sets.
#[derive(Debug, Default)]
pub(super) struct Keys {
    texts: Texts,
    pub(super) places: Numbered<Place>,
    pub(super) services: Numbered<Text>,
    pub(super) edges: Numbered<(Text, Text)>,
    pub(super) statements: Numbered<(Text, Text)>,
    /// For each place the number of its service, or of its hop.
    belongs: Vec<u32>,
}

impl Keys {
    /// The number of a place.
    pub(super) fn place(&mut self, place: Place) -> u32 {
        let number = self.places.number(place);
        if number as usize == self.belongs.len() {
            let belongs = match place {
                Place::Operation(service, _) => self.services.number(service),
                Place::Way(caller, callee, _) => self.edges.number((caller, callee)),
            };
            self.belongs.push(belongs);
        }
        number
    }

    /// The number of the service of a place that is an operation, of the hop of one that is a way.
    pub(super) fn belongs(&self, place: u32) -> u32 {
        self.belongs[place as usize]
    }

    fn text(&self, text: Text) -> String {
        self.texts.get(text).to_owned()
    }

    pub(super) fn operation(&self, place: u32) -> (String, String) {
        match self.places.get(place) {
            Place::Operation(service, operation) => (self.text(service), self.text(operation)),
            Place::Way(caller, callee, _) => (self.text(caller), self.text(callee)),
        }
    }

    pub(super) fn place_subject(&self, number: u32) -> Subject {
        match self.places.get(number) {
            Place::Operation(service, operation) => {
                Subject::Operation { service: self.text(service), operation: self.text(operation) }
            }
            Place::Way(caller, callee, direction) => {
                let (caller, callee) = (self.text(caller), self.text(callee));
                Subject::Edge { caller, callee, direction: Some(direction) }
            }
        }
    }

    pub(super) fn service_subject(&self, number: u32) -> Subject {
        Subject::Service { service: self.text(self.services.get(number)) }
    }

    pub(super) fn edge_subject(&self, number: u32) -> Subject {
        let (caller, callee) = self.edges.get(number);
        Subject::Edge { caller: self.text(caller), callee: self.text(callee), direction: None }
    }

    pub(super) fn statement_subject(&self, number: u32) -> Subject {
        let (service, statement) = self.statements.get(number);
        Subject::Statement { service: self.text(service), statement: self.text(statement) }
    }
}

/// From the texts of one set to those of all, each translated once.
#[derive(Debug)]
pub(super) struct Translated<'a> {
    traces: &'a Traces,
    texts: Vec<Option<Text>>,
    operations: HashMap<(Text, Text), u32, RandomState>,
}

impl<'a> Translated<'a> {
    pub(super) fn new(traces: &'a Traces) -> Self {
        Self { traces, texts: vec![None; traces.texts().len()], operations: HashMap::default() }
    }

    pub(super) fn text(&mut self, keys: &mut Keys, text: Text) -> Text {
        let Some(known) = self.texts.get_mut(text.0 as usize) else { return Text::EMPTY };
        *known.get_or_insert_with(|| keys.texts.number(self.traces.text(text)))
    }

    /// The place of a span's own time.
    pub(super) fn operation(&mut self, keys: &mut Keys, span: usize) -> u32 {
        let span = &self.traces.spans()[span];
        if let Some(number) = self.operations.get(&(span.service, span.operation)) {
            return *number;
        }
        let place = Place::Operation(self.text(keys, span.service), self.text(keys, span.operation));
        let number = keys.place(place);
        self.operations.insert((span.service, span.operation), number);
        number
    }
}
