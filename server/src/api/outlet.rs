//! The bounded way out to one subscriber: a few messages wait, and the last word is always heard.
//!
//! The sender waits while the buffer is full, so an epoch is never skipped and memory never grows. A subscriber that takes
//! nothing for longer than the stall is let go: the sender ends at once, the waiting messages stay readable, and behind them
//! comes the error.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::Stream;

use super::errors::{CallError, ErrorReason};

/// The sending end.
pub(crate) struct Outlet<T> {
    messages: mpsc::Sender<T>,
    stall: Duration,
    deadline: Option<Instant>,
    shutdown: watch::Receiver<bool>,
}

/// Why no more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The subscriber went away; nobody is there to tell.
    Gone,
    /// It took nothing for longer than the stall.
    Stalled,
    /// The call's deadline passed.
    Deadline,
    /// The service goes down.
    Shutdown,
}

impl Closed {
    /// What the subscriber is to hear of it: `slow` where it did not keep up, and nothing where nobody is there.
    pub(super) fn last_word(self, slow: &str) -> Option<CallError> {
        match self {
            Closed::Gone => None,
            Closed::Stalled => Some(CallError::new(ErrorReason::SlowSubscriber, slow)),
            Closed::Deadline => Some(CallError::deadline()),
            Closed::Shutdown => Some(CallError::shutting_down()),
        }
    }
}

/// Why a stream of answers ended before its end.
pub(super) enum End {
    /// No more could be sent.
    Closed(Closed),
    /// There was no more to send.
    Failed(CallError),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        End::Closed(closed)
    }
}

/// The receiving end: the response stream of a call.
pub(crate) struct Subscription<T> {
    messages: mpsc::Receiver<T>,
    last_word: Option<oneshot::Receiver<Option<CallError>>>,
    /// Held for as long as the subscriber is served.
    _permit: OwnedSemaphorePermit,
}

/// Both ends, and where the last word goes.
pub(super) type Ends<T> = (Outlet<T>, oneshot::Sender<Option<CallError>>, Subscription<T>);

/// Makes the ends of one stream.
pub(super) fn outlet<T>(
    messages: usize,
    stall: Duration,
    deadline: Option<Instant>,
    shutdown: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) -> Ends<T> {
    let (sender, receiver) = mpsc::channel(messages);
    let (last_word, heard) = oneshot::channel();
    let outlet = Outlet { messages: sender, stall, deadline, shutdown };
    (outlet, last_word, Subscription { messages: receiver, last_word: Some(heard), _permit: permit })
}

impl<T> Outlet<T> {
    /// Sends a message; waits while the buffer is full.
    pub(crate) async fn send(&mut self, message: T) -> Result<(), Closed> {
        let wait = match self.deadline {
            Some(deadline) => self.stall.min(deadline.saturating_duration_since(Instant::now())),
            None => self.stall,
        };
        let permit = tokio::select! {
            biased;
            permit = timeout(wait, self.messages.reserve()) => match permit {
                Ok(permit) => permit.map_err(|_| Closed::Gone)?,
                Err(_) if wait < self.stall => return Err(Closed::Deadline),
                Err(_) => return Err(Closed::Stalled),
            },
            _ = self.shutdown.wait_for(|&down| down) => return Err(Closed::Shutdown),
        };
        permit.send(message);
        Ok(())
    }

    /// Waits for something else, for as long as the subscriber is there to be served.
    pub(crate) async fn wait<O>(&mut self, event: impl Future<Output = O>) -> Result<O, Closed> {
        let deadline = self.deadline;
        let passed = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            output = event => Ok(output),
            _ = self.shutdown.wait_for(|&down| down) => Err(Closed::Shutdown),
            _ = self.messages.closed() => Err(Closed::Gone),
            () = passed => Err(Closed::Deadline),
        }
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = std::task::ready!(self.messages.poll_recv(context)) {
            return Poll::Ready(Some(Ok(message)));
        }
        // The sender has ended. It leaves its last word before it drops the messages' end, unless it panicked.
        match self.last_word.take().map(|mut heard| heard.try_recv()) {
            Some(Ok(Some(error))) => Poll::Ready(Some(Err(error))),
            Some(Err(_)) => Poll::Ready(Some(Err(CallError::bug()))),
            Some(Ok(None)) | None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio_stream::StreamExt as _;

    use super::*;

    type Pair = (Outlet<u32>, oneshot::Sender<Option<CallError>>, Subscription<u32>, watch::Sender<bool>);

    fn pair(messages: usize) -> Pair {
        let (down, shutdown) = watch::channel(false);
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("one is free");
        let (outlet, last_word, subscription) = outlet(messages, Duration::from_millis(20), None, shutdown, permit);
        (outlet, last_word, subscription, down)
    }

    #[tokio::test]
    async fn a_stalled_subscriber_hears_what_waited_and_then_why_it_ended() {
        let (mut outlet, last_word, mut subscription, _down) = pair(2);
        assert_eq!(outlet.send(1).await, Ok(()));
        assert_eq!(outlet.send(2).await, Ok(()));
        assert_eq!(outlet.send(3).await, Err(Closed::Stalled));
        let slow = CallError::new(ErrorReason::SlowSubscriber, "slow");
        last_word.send(Some(slow)).expect("the subscriber is there");
        drop(outlet);
        assert_eq!(subscription.next().await.map(Result::ok), Some(Some(1)));
        assert_eq!(subscription.next().await.map(Result::ok), Some(Some(2)));
        let error = subscription.next().await.and_then(Result::err).expect("the last word");
        assert_eq!(error.reason, ErrorReason::SlowSubscriber);
        assert!(subscription.next().await.is_none());
    }

    #[tokio::test]
    async fn shutdown_ends_a_sender_that_waits() {
        let (mut outlet, _last_word, _subscription, down) = pair(1);
        assert_eq!(outlet.send(1).await, Ok(()));
        down.send_replace(true);
        assert_eq!(outlet.send(2).await, Err(Closed::Shutdown));
        assert_eq!(outlet.wait(std::future::pending::<()>()).await, Err(Closed::Shutdown));
    }

    #[tokio::test]
    async fn a_sender_that_ends_without_a_word_is_an_error() {
        let (outlet, last_word, mut subscription, _down) = pair(1);
        drop((last_word, outlet));
        let error = subscription.next().await.and_then(Result::err).expect("the stream did not end by itself");
        assert_eq!(error.reason, ErrorReason::Internal);
    }

    #[tokio::test]
    async fn a_subscriber_that_left_ends_the_sender() {
        let (mut outlet, _last_word, subscription, _down) = pair(1);
        drop(subscription);
        assert_eq!(outlet.send(1).await, Err(Closed::Gone));
        assert_eq!(outlet.wait(std::future::pending::<()>()).await, Err(Closed::Gone));
    }
}
