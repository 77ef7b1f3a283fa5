//! `GetStatus`: the readable epochs, and what became of every record.

use super::call::Shared;
use super::errors::CallError;
use crate::convert::{to_wire, wire};

/// The state of the service as of its newest complete epoch.
pub(crate) fn get_status(shared: &Shared) -> Result<wire::GetStatusResponse, CallError> {
    let snapshot = shared.reader.snapshot(None)?;
    Ok(to_wire::status(&snapshot, snapshot.readable(), &shared.streams()))
}
