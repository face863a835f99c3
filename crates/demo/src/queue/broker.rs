//! The message broker: a bounded log for each topic, and for each group of consumers how far it has read. Like real
//! brokers it is not instrumented; the context travels in the headers of the message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Messages that a topic keeps; older ones are lost, read or not.
const BACKLOG_MAX: usize = 1_000;

/// Topics and groups that the broker keeps: more than the shop has.
const NAMES_MAX: usize = 32;

/// The longest that a consumer's request waits for a message.
const POLL_MAX: Duration = Duration::from_secs(5);

/// A message with its headers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) offset: u64,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Value,
}

#[derive(Default)]
struct Topic {
    messages: VecDeque<Message>,
    /// The offset of the next message.
    end: u64,
    /// The offset of the next message for each group.
    groups: HashMap<String, u64>,
}

impl Topic {
    fn append(&mut self, mut message: Message) -> u64 {
        message.offset = self.end;
        self.end += 1;
        if self.messages.len() == BACKLOG_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
        self.end - 1
    }

    /// The next messages of a group, which are then read. A new group begins with the oldest.
    fn take(&mut self, group: &str, most: usize) -> Vec<Message> {
        let first = self.end - self.messages.len() as u64;
        if !self.groups.contains_key(group) && self.groups.len() >= NAMES_MAX {
            return Vec::new();
        }
        let at = self.groups.entry(group.to_owned()).or_default();
        *at = (*at).max(first);
        let skipped = usize::try_from(*at - first).unwrap_or(usize::MAX);
        let taken: Vec<Message> = self.messages.iter().skip(skipped).take(most).cloned().collect();
        *at += taken.len() as u64;
        taken
    }
}

struct Log {
    topics: Mutex<HashMap<String, Topic>>,
    arrived: Notify,
    stop: CancellationToken,
}

impl Log {
    fn with_topic<T>(&self, name: &str, act: impl FnOnce(&mut Topic) -> T) -> Option<T> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains_key(name) && topics.len() >= NAMES_MAX {
            return None;
        }
        Some(act(topics.entry(name.to_owned()).or_default()))
    }
}

#[derive(Deserialize)]
struct Poll {
    topic: String,
    group: String,
    most: usize,
}

/// The broker's own server.
pub(crate) fn router(stop: CancellationToken) -> Router {
    let log = Log { topics: Mutex::default(), arrived: Notify::new(), stop };
    Router::new().route("/produce", post(produce)).route("/consume", get(consume)).with_state(Arc::new(log))
}

async fn produce(State(log): State<Arc<Log>>, Json(message): Json<Message>) -> Json<Value> {
    let topic = message.topic.clone();
    let offset = log.with_topic(&topic, |topic| topic.append(message));
    log.arrived.notify_waiters();
    Json(json!({"offset": offset}))
}

async fn consume(State(log): State<Arc<Log>>, Query(poll): Query<Poll>) -> Json<Value> {
    let take = || log.with_topic(&poll.topic, |topic| topic.take(&poll.group, poll.most)).unwrap_or_default();
    // Waits before it looks, so that what arrives in between is noticed.
    let mut arrived = std::pin::pin!(log.arrived.notified());
    arrived.as_mut().enable();
    let mut messages = take();
    if messages.is_empty() {
        // Nothing within the time is an empty answer; the consumer asks again.
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep(POLL_MAX) => {}
            () = log.stop.cancelled() => {}
        }
        messages = take();
    }
    Json(json!({"messages": messages}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_reads_every_message_once_and_the_log_has_an_end() {
        let mut topic = Topic::default();
        assert!(topic.take("mail", 10).is_empty());
        for _ in 0..3 {
            topic.append(Message::default());
        }
        let offsets = |messages: Vec<Message>| messages.iter().map(|message| message.offset).collect::<Vec<_>>();
        assert_eq!(offsets(topic.take("mail", 2)), [0, 1]);
        assert_eq!(offsets(topic.take("sums", 10)), [0, 1, 2], "a new group begins with the oldest");
        assert_eq!(offsets(topic.take("mail", 2)), [2]);
        for _ in 0..2 * BACKLOG_MAX {
            topic.append(Message::default());
        }
        assert_eq!(topic.messages.len(), BACKLOG_MAX);
        assert_eq!(offsets(topic.take("sums", 1)), [3 + BACKLOG_MAX as u64], "what was lost is skipped");
    }
}
