//! `IngestService`.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::deadline::{client_deadline, deadline};
use crate::api::CallError;
use crate::api::errors::ErrorReason;
use crate::api::events::Events;
use crate::api::ingest::{Door, Ingest, Judged, Pending};
use crate::convert::raw;
use crate::convert::raw::ingest_service_server::{IngestService, IngestServiceServer};
use crate::limits::{APPEND_MESSAGE_BYTES_MAX, APPEND_STREAMS_MAX, APPENDS_IN_FLIGHT, INLINE_EVENT_BYTES_MAX};

/// The service of the contract, over one log.
pub(crate) struct IngestApi {
    door: Door,
    shutdown: watch::Receiver<bool>,
    streams: Arc<Semaphore>,
}

/// Answers in the order of their requests.
type Answers = Pin<Box<dyn Stream<Item = Result<raw::AppendResponse, Status>> + Send>>;

impl IngestApi {
    /// The service, with its limits on messages.
    pub(crate) fn server(door: Door, shutdown: watch::Receiver<bool>) -> IngestServiceServer<IngestApi> {
        let streams = Arc::new(Semaphore::new(APPEND_STREAMS_MAX));
        IngestServiceServer::new(IngestApi { door, shutdown, streams })
            .max_decoding_message_size(APPEND_MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl IngestService for IngestApi {
    type AppendStreamStream = Answers;

    async fn append(&self, request: Request<raw::AppendRequest>) -> Result<Response<raw::AppendResponse>, Status> {
        let deadline = deadline(request.metadata());
        let raw::AppendRequest { request_id, events } = request.into_inner();
        let events = Events::Messages(events);
        let ingest = self.door.ingest()?;
        let room = ingest.try_room(events.bytes())?;
        let judged = judge(ingest, events).await?;
        let pending = ingest.append(judged, room);
        Ok(Response::new(ingest.answer(pending, request_id, Some(deadline)).await?))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<raw::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let ingest = Arc::clone(self.door.ingest()?);
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{APPEND_STREAMS_MAX} streams of events are open, as many as are allowed");
            CallError::new(ErrorReason::IngestBusy, message)
        })?;
        let deadline = client_deadline(request.metadata());
        let (sender, pending) = mpsc::channel(APPENDS_IN_FLIGHT);
        let intake = Intake { ingest: ingest.clone(), shutdown: self.shutdown.clone(), sender };
        tokio::spawn(intake.run(request.into_inner()));
        let answers = ReceiverStream::new(pending).then(move |taken: Taken| {
            let (ingest, _held) = (ingest.clone(), &permit);
            async move {
                let (pending, request_id) = taken?;
                Ok(ingest.answer(pending, request_id, deadline).await?)
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A request that the log has taken, or why the stream ends.
type Taken = Result<(Pending, String), Status>;

/// One stream's way in: it reads requests for as long as there is room, and keeps their order.
struct Intake {
    ingest: Arc<Ingest>,
    shutdown: watch::Receiver<bool>,
    sender: mpsc::Sender<Taken>,
}

impl Intake {
    async fn run(self, mut requests: Streaming<raw::AppendRequest>) {
        let mut shutdown = self.shutdown.clone();
        loop {
            // The place in the order comes first: a request that is read has somewhere to go.
            let Ok(place) = self.sender.clone().reserve_owned().await else { return };
            let request = tokio::select! {
                request = requests.next() => request,
                () = is_down(&mut shutdown) => Some(Err(CallError::shutting_down().into())),
            };
            let Some(request) = request else { return };
            let taken = self.take(request).await;
            let ends = taken.is_err();
            place.send(taken);
            if ends {
                return;
            }
        }
    }

    /// Hands a request to the log. Where there is no room it waits, and the client with it.
    async fn take(&self, request: Result<raw::AppendRequest, Status>) -> Taken {
        let raw::AppendRequest { request_id, events } = request?;
        let events = Events::Messages(events);
        let room = self.ingest.room(events.bytes()).await;
        let judged = judge(&self.ingest, events).await?;
        Ok((self.ingest.append(judged, room), request_id))
    }
}

/// Reads and judges events; a large request on a thread of its own.
async fn judge(ingest: &Arc<Ingest>, events: Events) -> Result<Judged, CallError> {
    if events.bytes() <= INLINE_EVENT_BYTES_MAX {
        return ingest.judge(&events);
    }
    let ingest = ingest.clone();
    let judged = task::spawn_blocking(move || ingest.judge(&events)).await;
    judged.unwrap_or_else(|_| Err(CallError::bug()))
}

async fn is_down(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = shutdown.wait_for(|&down| down).await;
}
