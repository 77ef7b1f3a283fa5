//! `Subscribe`: a snapshot, then every epoch's net changes, whole epochs only.
//!
//! A subscriber has a cursor, the last epoch that it was sent whole, and no copy of anything: the engine's bounded history is
//! what it reads from. It is let go as slow when its buffer stays full for too long, or when the history has moved past its
//! cursor; either way it hears its last token.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use recount_dataflow::domain::validate::TIME_END_MS;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::read::{ReadError, Row, RowChange, Snapshot};
use tokio::runtime::Handle;
use tokio::task;

use super::call::Shared;
use super::check;
use super::errors::{CallError, ErrorReason};
use super::outlet::{End, Outlet, Subscription};
use super::token::{Token, TokenKind, fingerprint};
use crate::convert::{base64, to_wire, wire};
use crate::limits::STREAM_MESSAGE_BYTES;

/// What a subscriber hears that did not keep up.
const SLOW: &str = "the subscriber did not keep up; resume with the last token, or begin with a snapshot";

/// What is subscribed to.
struct Topic {
    /// Sorted; empty for all ads.
    ads: Vec<String>,
    granularity: Granularity,
    /// Identifies the request in its resume tokens.
    request: u64,
}

/// One subscription's task.
struct Subscriber {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    outlet: Outlet<wire::SubscribeResponse>,
    /// The last epoch that was sent whole.
    sent: Option<u64>,
}

/// Begins a subscription.
pub(crate) async fn subscribe(
    shared: &Arc<Shared>,
    request: wire::SubscribeRequest,
    deadline: Option<Instant>,
) -> Result<Subscription<wire::SubscribeResponse>, CallError> {
    let granularity = check::granularity(request.granularity)?;
    let ads = check::ads_or_all(request.ad_ids)?;
    let identity =
        wire::SubscribeRequest { ad_ids: ads.clone(), granularity: request.granularity, ..Default::default() };
    let topic = Topic { ads, granularity, request: fingerprint(&identity.encode_to_vec()) };
    let newest = shared.reader.snapshot(None)?;
    let resumed = match request.resume_token.is_empty() {
        true => None,
        false => Some(resume(shared, &topic, &request.resume_token)?),
    };

    let (outlet, last_word, subscription) = shared.open_stream(deadline)?;
    let mut subscriber = Subscriber { shared: shared.clone(), topic: Arc::new(topic), outlet, sent: resumed };
    let begin = match (resumed, request.snapshot) {
        (Some(_), _) => None,
        (None, true) => Some(newest),
        (None, false) => {
            subscriber.sent = Some(newest.as_of());
            None
        }
    };
    tokio::spawn(async move {
        let (error, outlet) = subscriber.run(begin).await;
        // Nobody listens where the subscriber has gone.
        let _ = last_word.send(error);
        drop(outlet);
    });
    Ok(subscription)
}

/// The epoch of a resume token, refused where its changes have left the history.
fn resume(shared: &Shared, topic: &Topic, token: &[u8]) -> Result<u64, CallError> {
    let token = Token::decode(token, TokenKind::Resume, shared.lineage.number())?;
    token.check_request(topic.request)?;
    let readable = shared.reader.readable();
    if token.epoch < readable.since {
        let message = format!(
            "the changes after epoch {} are not kept any more; readable epochs are [{}, {}); begin with a snapshot",
            token.epoch, readable.since, readable.upper
        );
        return Err(CallError::new(ErrorReason::ResumeTooOld, message)
            .with("since", readable.since)
            .with("upper", readable.upper));
    }
    Ok(token.epoch)
}

impl Subscriber {
    /// Serves until there is a reason to end; returns what the subscriber is to hear. The outlet comes back too, so that it
    /// closes only after the last word was left.
    async fn run(mut self, begin: Option<Snapshot>) -> (Option<CallError>, Outlet<wire::SubscribeResponse>) {
        if let Some(snapshot) = begin {
            self = match self.send_state(snapshot).await {
                (subscriber, None) => subscriber,
                (subscriber, Some(end)) => return subscriber.finish(end),
            };
        }
        let end = self.follow().await;
        self.finish(end)
    }

    fn finish(self, end: End) -> (Option<CallError>, Outlet<wire::SubscribeResponse>) {
        let error = match end {
            End::Failed(error) => Some(error),
            End::Closed(closed) => closed.last_word(SLOW).map(|error| self.with_token(error)),
        };
        (error, self.outlet)
    }

    /// Sends every epoch after the last one sent, as they complete.
    async fn follow(&mut self) -> End {
        let mut progress = self.shared.progress.clone();
        loop {
            let upper = progress.borrow_and_update().upper;
            let mut epoch = self.sent.map_or(upper, |sent| sent + 1);
            while epoch < upper {
                if let Err(end) = self.send_changes(epoch).await {
                    return end;
                }
                epoch += 1;
            }
            match self.outlet.wait(progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Failed(self.with_token(ReadError::Stopped.into())),
                Err(closed) => return closed.into(),
            }
        }
    }

    /// Sends the net changes of one epoch; progress alone where there are none.
    async fn send_changes(&mut self, epoch: u64) -> Result<(), End> {
        let snapshot = match self.shared.reader.snapshot(Some(epoch)) {
            Ok(snapshot) => snapshot,
            Err(ReadError::AsOfTooOld { .. }) => return Err(End::Failed(self.slow())),
            Err(error) => return Err(End::Failed(error.into())),
        };
        let mut message = Message::new(&snapshot);
        let topic = self.topic.clone();
        let changes = task::spawn_blocking(move || changes_of(&snapshot, &topic)).await;
        let changes = changes.map_err(|_| End::Failed(CallError::bug()))?.map_err(|error| End::Failed(error.into()))?;
        for change in &changes {
            if let Some(full) = message.push(to_wire::row_change(change)) {
                self.outlet.send(full).await?;
            }
        }
        self.send_last(message).await
    }

    /// Sends the whole state. Reading it is work for a blocking thread, which waits for the subscriber where it must.
    async fn send_state(mut self, snapshot: Snapshot) -> (Self, Option<End>) {
        let runtime = Handle::current();
        let topic = self.topic.clone();
        let work = task::spawn_blocking(move || {
            let mut message = Message::new(&snapshot);
            let mut end = None;
            let read = for_each_row(&snapshot, &topic, |row| {
                if end.is_some() {
                    return;
                }
                let change = wire::RowChange { before: None, after: Some(to_wire::row(row)) };
                if let Some(full) = message.push(change) {
                    end = runtime.block_on(self.outlet.send(full)).err().map(End::Closed);
                }
            });
            let end = match read {
                Err(error) => Some(End::Failed(error.into())),
                Ok(()) => end.or_else(|| runtime.block_on(self.send_last(message)).err()),
            };
            (self, end)
        });
        // A panic there is a panic here: the outlet is lost with it, and the subscriber hears of a bug.
        work.await.unwrap_or_else(|failure| resume_unwind(failure.into_panic()))
    }

    async fn send_last(&mut self, message: Message) -> Result<(), End> {
        let epoch = message.message.epoch;
        self.outlet.send(message.last(self.token(epoch))).await?;
        self.sent = Some(epoch);
        Ok(())
    }

    fn token(&self, epoch: u64) -> Vec<u8> {
        let (lineage, request) = (self.shared.lineage.number(), self.topic.request);
        Token { kind: TokenKind::Resume, lineage, epoch, request, cursor: Vec::new() }.encode()
    }

    /// Adds the token with which the subscriber can go on, where there is one.
    fn with_token(&self, error: CallError) -> CallError {
        match self.sent {
            Some(epoch) => error.with("resume_token", base64::encode(&self.token(epoch))).with("epoch", epoch),
            None => error,
        }
    }

    fn slow(&self) -> CallError {
        self.with_token(CallError::new(ErrorReason::SlowSubscriber, SLOW))
    }
}

fn changes_of(snapshot: &Snapshot, topic: &Topic) -> Result<Vec<RowChange>, ReadError> {
    let ads: Vec<&str> = topic.ads.iter().map(String::as_str).collect();
    snapshot.changes(topic.granularity, (!ads.is_empty()).then_some(&ads))
}

fn for_each_row(snapshot: &Snapshot, topic: &Topic, mut visit: impl FnMut(&Row)) -> Result<(), ReadError> {
    if topic.ads.is_empty() {
        return snapshot.for_each_row(topic.granularity, visit);
    }
    for ad_id in &topic.ads {
        snapshot.rows(ad_id, topic.granularity, 0, TIME_END_MS)?.iter().for_each(&mut visit);
    }
    Ok(())
}

/// A message of one epoch being filled.
struct Message {
    message: wire::SubscribeResponse,
    bytes: usize,
}

impl Message {
    fn new(snapshot: &Snapshot) -> Self {
        let (epoch, watermark_ms) = (snapshot.as_of(), snapshot.watermark_ms().unwrap_or(0));
        Message { message: wire::SubscribeResponse { epoch, watermark_ms, ..Default::default() }, bytes: 0 }
    }

    /// Adds a change, and returns the message once it is full; the epoch goes on in the next.
    fn push(&mut self, change: wire::RowChange) -> Option<wire::SubscribeResponse> {
        self.bytes += change.encoded_len();
        self.message.changes.push(change);
        if self.bytes < STREAM_MESSAGE_BYTES {
            return None;
        }
        self.bytes = 0;
        let changes = std::mem::take(&mut self.message.changes);
        Some(wire::SubscribeResponse { changes, ..self.message.clone() })
    }

    /// The epoch's last message, whose token makes it whole.
    fn last(mut self, resume_token: Vec<u8>) -> wire::SubscribeResponse {
        self.message.resume_token = resume_token;
        self.message
    }
}
