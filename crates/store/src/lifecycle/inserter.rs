//! From the log into heads. One thread, so that a head sees its frames in order and freezing one is simple.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use tokio::sync::watch;

use super::admission::Reservation;
use super::core::Core;
use super::requests::Outcome;
use super::sealer::SealJob;
use super::view::{Key, OpenHead};
use super::{AppendError, StoreError};
use crate::wal::{Consumer, Frame, Refusal, Submission};

/// Groups between the log and the heads; more wait in the log's inbox.
pub(crate) const COMMANDS_MAX: usize = 4;

/// What the inserter is asked for.
pub(crate) enum Command {
    /// Insert these, they are durable.
    Insert(Vec<Frame<Ticket>>),
    /// Freeze this head, so that it can be sealed.
    Freeze(Key),
    /// Freeze every head.
    FreezeAll,
    /// End.
    Stop,
}

/// What a request carries through the log.
pub(crate) struct Ticket {
    pub hash: u128,
    pub outcome: watch::Sender<Outcome>,
    pub reservation: Option<Reservation>,
}

/// Takes groups from the log's writer.
pub(crate) struct FromLog {
    pub core: Arc<Core>,
    pub commands: SyncSender<Command>,
}

impl Consumer<Ticket> for FromLog {
    fn durable(&mut self, group: Vec<Frame<Ticket>>) {
        if self.commands.send(Command::Insert(group)).is_err() {
            tracing::warn!("requests were made durable while the store ended; they will be replayed");
        }
    }

    fn refused(&mut self, group: Vec<Submission<Ticket>>, refusal: &Refusal) {
        let retry_after = Duration::from_secs(if refusal.passing { 5 } else { 30 });
        let error = AppendError::Unavailable { reason: refusal.reason.clone(), retry_after };
        for submission in group {
            let Ticket { hash, outcome, reservation } = submission.ticket;
            self.core.window.lock().failed(hash);
            drop(reservation);
            outcome.send_replace(Some(Err(error.clone())));
        }
    }
}

/// The thread's body.
pub(crate) fn run(core: &Arc<Core>, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv() {
        match command {
            Command::Insert(group) => {
                for frame in group {
                    let Frame { number, received_ms, submission } = frame;
                    let Ticket { hash, outcome, reservation } = submission.ticket;
                    let key = Key { tenant: submission.tenant, signal: submission.signal };
                    insert(core, &key, number, received_ms, hash, &submission.payload);
                    drop(reservation);
                    outcome.send_replace(Some(Ok(())));
                }
            }
            Command::Freeze(key) => freeze(core, &key),
            Command::FreezeAll => {
                let keys: Vec<Key> = core.view.read().tables().map(|(key, _)| key).collect();
                keys.iter().for_each(|key| freeze(core, key));
            }
            Command::Stop => return,
        }
    }
}

/// Puts a durable frame into its head and freezes the head when it is full.
pub(crate) fn insert(core: &Core, key: &Key, number: u64, received_ms: u64, hash: u128, payload: &[u8]) {
    let existing = core.view.read().table(&key.tenant, key.signal).and_then(|table| table.filling.clone());
    let open = existing.unwrap_or_else(|| {
        let open = Arc::new(OpenHead::new(key.signal, number, core.now_ms()));
        core.view.write().table_mut(key).filling = Some(open.clone());
        open
    });
    match catch_unwind(AssertUnwindSafe(|| open.head.append(payload))) {
        Ok(appended) => {
            core.rows_appended.fetch_add(appended.rows, Ordering::Relaxed);
            if appended.skipped > 0 {
                core.journal.lock().skipped_rows += appended.skipped;
            }
        }
        Err(panic) => {
            let error = StoreError::panicked("decoding a request", panic);
            tracing::error!("frame {number} of tenant {} cannot be decoded: {error}", key.tenant);
            core.journal.lock().unreadable_requests += 1;
        }
    }
    open.last_frame.store(number, Ordering::Release);
    open.received_ms.store(received_ms, Ordering::Relaxed);
    open.requests.lock().push(hash);
    let bytes = open.head.size_bytes();
    core.budget.grown(bytes.saturating_sub(open.bytes.swap(bytes, Ordering::Relaxed)));
    core.window.lock().stored(hash, received_ms);
    core.inserted.store(number, Ordering::Release);
    if open.head.rows() >= core.config.head_rows_max || bytes >= core.config.head_bytes_max {
        freeze(core, key);
    }
}

/// Makes the filling head the one being sealed. While another still is, nothing happens: the head grows on, within
/// the store's memory, and is frozen when the other is done.
pub(crate) fn freeze(core: &Core, key: &Key) {
    let mut view = core.view.write();
    let table = view.table_mut(key);
    if table.sealing.is_some() {
        return;
    }
    let Some(open) = table.filling.take() else { return };
    table.sealing = Some(open.clone());
    drop(view);
    core.seals.push(SealJob::new(key.clone(), open));
}
