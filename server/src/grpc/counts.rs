//! `CountsService`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use recount_dataflow::domain::validate::Shelf;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::deadline::{client_deadline, deadline};
use crate::api::outlet::Subscription;
use crate::api::{Shared, corrections, counts, explain, set_aside, status, subscribe};
use crate::convert::wire;
use crate::convert::wire::counts_service_server::{CountsService, CountsServiceServer};
use crate::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};

/// The service of the contract, over one reader.
pub(crate) struct CountsApi {
    shared: Arc<Shared>,
}

impl CountsApi {
    /// The service, with its limits on messages.
    pub(crate) fn server(shared: Arc<Shared>) -> CountsServiceServer<CountsApi> {
        CountsServiceServer::new(CountsApi { shared })
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }
}

/// A subscription whose last word is a status.
pub(crate) struct Statuses<T>(Subscription<T>);

impl<T> Stream for Statuses<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.0).poll_next(context));
        Poll::Ready(next.map(|message| message.map_err(Status::from)))
    }
}

#[tonic::async_trait]
impl CountsService for CountsApi {
    type SubscribeStream = Statuses<wire::SubscribeResponse>;
    type StreamCorrectionsStream = Statuses<wire::StreamCorrectionsResponse>;

    async fn get_counts(
        &self,
        request: Request<wire::GetCountsRequest>,
    ) -> Result<Response<wire::GetCountsResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(counts::get_counts(&self.shared, request.into_inner(), deadline).await?))
    }

    async fn list_top_ads(
        &self,
        request: Request<wire::ListTopAdsRequest>,
    ) -> Result<Response<wire::ListTopAdsResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(counts::list_top_ads(&self.shared, request.into_inner(), deadline).await?))
    }

    async fn subscribe(
        &self,
        request: Request<wire::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let deadline = client_deadline(request.metadata());
        let subscription = subscribe::subscribe(&self.shared, request.into_inner(), deadline).await?;
        Ok(Response::new(Statuses(subscription)))
    }

    async fn stream_corrections(
        &self,
        request: Request<wire::StreamCorrectionsRequest>,
    ) -> Result<Response<Self::StreamCorrectionsStream>, Status> {
        let deadline = client_deadline(request.metadata());
        let subscription = corrections::stream_corrections(&self.shared, request.into_inner(), deadline).await?;
        Ok(Response::new(Statuses(subscription)))
    }

    async fn explain_count(
        &self,
        request: Request<wire::ExplainCountRequest>,
    ) -> Result<Response<wire::ExplainCountResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(explain::explain_count(&self.shared, request.into_inner(), deadline).await?))
    }

    async fn list_quarantined(
        &self,
        request: Request<wire::ListSetAsideRequest>,
    ) -> Result<Response<wire::ListSetAsideResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(set_aside::list(&self.shared, Shelf::Quarantined, request.into_inner(), deadline).await?))
    }

    async fn list_parked(
        &self,
        request: Request<wire::ListSetAsideRequest>,
    ) -> Result<Response<wire::ListSetAsideResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(set_aside::list(&self.shared, Shelf::Parked, request.into_inner(), deadline).await?))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        Ok(Response::new(status::get_status(&self.shared)?))
    }
}
