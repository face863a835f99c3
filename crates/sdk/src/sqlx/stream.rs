//! Rows and results on their way, within their span.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::sqlx::{Either, Error};
use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tracing::Instrument;

use super::failure;
use crate::db::{Call, Database};

/// A stream whose span ends with it, at its end or before. `keep` says what of a step is handed on.
pub(super) struct Rows<'e, S, T> {
    steps: BoxStream<'e, Result<S, Error>>,
    /// `None` when the span has ended.
    call: Option<Call>,
    database: Database,
    /// Rows so far, where they count.
    rows: Option<usize>,
    keep: fn(S, &mut Option<usize>) -> Option<T>,
}

impl<'e, R: 'e, W: 'e> Rows<'e, Either<R, W>, Either<R, W>>
where
    Either<R, W>: Send,
{
    /// Rows and results, as they come.
    pub(super) fn steps(
        steps: BoxStream<'e, Result<Either<R, W>, Error>>,
        call: Call,
        database: Database,
    ) -> BoxStream<'e, Result<Either<R, W>, Error>> {
        let keep = |step, rows: &mut Option<usize>| {
            if let (Either::Right(_), Some(rows)) = (&step, rows) {
                *rows += 1;
            }
            Some(step)
        };
        Box::pin(Rows { steps, call: Some(call), database, rows: Some(0), keep })
    }
}

impl<'e, R: 'e, W: 'e> Rows<'e, Either<R, W>, R>
where
    Either<R, W>: Send,
{
    /// Results alone, of statements that are not asked for rows.
    pub(super) fn results(
        steps: BoxStream<'e, Result<Either<R, W>, Error>>,
        call: Call,
        database: Database,
    ) -> BoxStream<'e, Result<R, Error>> {
        let keep = |step, _: &mut Option<usize>| match step {
            Either::Left(result) => Some(result),
            Either::Right(_) => None,
        };
        Box::pin(Rows { steps, call: Some(call), database, rows: None, keep })
    }
}

impl<S, T> Rows<'_, S, T> {
    fn count(&self) {
        if let (Some(call), Some(rows)) = (&self.call, self.rows) {
            call.returned_rows(rows);
        }
    }
}

impl<S, T> Stream for Rows<'_, S, T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        let this = &mut *self;
        let span = this.call.as_ref().map_or_else(tracing::Span::none, Call::span);
        let _entered = span.enter();
        loop {
            match ready!(this.steps.as_mut().poll_next(context)) {
                Some(Ok(step)) => {
                    if let Some(kept) = (this.keep)(step, &mut this.rows) {
                        return Poll::Ready(Some(Ok(kept)));
                    }
                }
                Some(Err(error)) => {
                    this.count();
                    if let Some(call) = this.call.take() {
                        call.failed(failure(&this.database, &error));
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.count();
                    if let Some(call) = this.call.take() {
                        call.succeeded();
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl<S, T> Drop for Rows<'_, S, T> {
    /// Whoever read has had enough.
    fn drop(&mut self) {
        self.count();
    }
}

/// A future whose span ends with it. `rows` says how many rows a result stands for.
pub(super) fn complete<'e, T: Send + 'e>(
    result: BoxFuture<'e, Result<T, Error>>,
    call: Call,
    database: Database,
    rows: fn(&T) -> Option<usize>,
) -> BoxFuture<'e, Result<T, Error>> {
    Box::pin(async move {
        let call = call.cancelled_if_dropped();
        let result = result.instrument(call.span()).await;
        match &result {
            Ok(value) => {
                if let Some(rows) = rows(value) {
                    call.returned_rows(rows);
                }
                call.succeeded();
            }
            Err(error) => call.failed(failure(&database, error)),
        }
        result
    })
}
