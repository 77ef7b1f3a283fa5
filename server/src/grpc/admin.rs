//! `AdminService`.

use tonic::{Request, Response, Status};

use crate::api::CallError;
use crate::api::errors::ErrorReason;
use crate::convert::wire;
use crate::convert::wire::admin_service_server::AdminService;
use crate::store::Trigger;

/// The service, over what it may ask for.
pub(crate) struct AdminApi {
    /// `None` where there are no checkpoints.
    pub(super) trigger: Option<Trigger>,
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn checkpoint(
        &self,
        _request: Request<wire::CheckpointRequest>,
    ) -> Result<Response<wire::CheckpointResponse>, Status> {
        let trigger = self.trigger.as_ref().ok_or_else(|| {
            let message = "this service reads files and has no checkpoints; start one with --data-dir";
            CallError::new(ErrorReason::CheckpointsOff, message)
        })?;
        let written = trigger.write().await;
        let written = written.map_err(|why| CallError::new(ErrorReason::CheckpointFailed, why))?;
        let response = written.map_or_else(wire::CheckpointResponse::default, |written| wire::CheckpointResponse {
            written: true,
            number: written.number,
            epoch: written.epoch,
            bytes: written.bytes,
        });
        Ok(Response::new(response))
    }
}
