//! The gRPC services: thin methods over one module a question.
//!
//! [`check`] has the rules of requests, [`errors`] what a refusal looks like, [`token`] the opaque tokens, [`call`] what every
//! call has; [`outlet`] is the bounded way out to a subscriber.

mod call;
mod check;
mod corrections;
mod counts;
mod errors;
mod explain;
mod outlet;
mod page;
mod set_aside;
mod subscribe;
mod token;

use std::sync::Arc;

use recount_dataflow::read::{Readable, Reader};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

pub use self::call::Bounds;
use self::call::{Shared, client_deadline, deadline};
use self::outlet::Subscription;
use crate::convert::wire::counts_service_server::{CountsService, CountsServiceServer};
use crate::convert::{to_wire, wire};
use crate::evidence::Evidence;
use crate::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::lineage::Lineage;

/// A token that a read can ask to see included: the next offset of each stream.
pub fn ingest_token(lineage: Lineage, positions: &[(u16, u64)]) -> Vec<u8> {
    token::encode_positions(lineage.number(), positions)
}

/// The service of the contract, over one reader.
pub(crate) struct CountsApi {
    shared: Arc<Shared>,
}

impl CountsApi {
    /// The service, with its limits on messages.
    pub(crate) fn server(
        reader: Reader,
        lineage: Lineage,
        evidence: Evidence,
        bounds: Bounds,
        progress: watch::Receiver<Readable>,
        shutdown: watch::Receiver<bool>,
    ) -> CountsServiceServer<CountsApi> {
        let reads = Semaphore::new(bounds.concurrent_reads);
        let subscribers = Arc::new(Semaphore::new(bounds.subscribers));
        let shared = Shared { reader, lineage, evidence, bounds, progress, shutdown, reads, subscribers };
        CountsServiceServer::new(CountsApi { shared: Arc::new(shared) })
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl CountsService for CountsApi {
    type SubscribeStream = Subscription<wire::SubscribeResponse>;
    type StreamCorrectionsStream = Subscription<wire::StreamCorrectionsResponse>;

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
        Ok(Response::new(subscribe::subscribe(&self.shared, request.into_inner(), deadline).await?))
    }

    async fn stream_corrections(
        &self,
        request: Request<wire::StreamCorrectionsRequest>,
    ) -> Result<Response<Self::StreamCorrectionsStream>, Status> {
        let deadline = client_deadline(request.metadata());
        Ok(Response::new(corrections::stream_corrections(&self.shared, request.into_inner(), deadline).await?))
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
        Ok(Response::new(set_aside::list(&self.shared, false, request.into_inner(), deadline).await?))
    }

    async fn list_parked(
        &self,
        request: Request<wire::ListSetAsideRequest>,
    ) -> Result<Response<wire::ListSetAsideResponse>, Status> {
        let deadline = deadline(request.metadata());
        Ok(Response::new(set_aside::list(&self.shared, true, request.into_inner(), deadline).await?))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let shared = &self.shared;
        let snapshot = shared.reader.snapshot(None).map_err(errors::CallError::from)?;
        Ok(Response::new(to_wire::status(&snapshot, snapshot.readable(), shared.streams())))
    }
}
