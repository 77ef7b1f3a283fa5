//! The client side: a connection, and errors as exit codes.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::cli::CliError;
use crate::cli::stdout::print;
use crate::convert::json::ToJson;
use crate::convert::wire::counts_service_client::CountsServiceClient;

/// A connection to a service.
pub(super) struct Client {
    /// The stub.
    pub(super) stub: CountsServiceClient<Channel>,
    timeout: Duration,
}

impl Client {
    /// Connects.
    pub(super) async fn connect(addr: SocketAddr, timeout: Duration) -> Result<Client, CliError> {
        Ok(Client { stub: CountsServiceClient::new(connect(addr, timeout).await?), timeout })
    }

    /// A request with the deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// A channel to the service.
pub(in crate::cli) async fn connect(addr: SocketAddr, timeout: Duration) -> Result<Channel, CliError> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address makes a URI");
    endpoint.connect_timeout(timeout).connect().await.map_err(|_| {
        CliError::NotReady(format!(
            "no service answers on {addr}; start one with `recount serve`, or say where it is with --addr"
        ))
    })
}

/// What a refusal means to the command.
pub(in crate::cli) fn refused(status: Status) -> CliError {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!(" ({})", info.reason)).unwrap_or_default();
    let message = format!("the service answered: {}{reason}", status.message());
    match status.code() {
        // The client's own time-out is told as cancelled.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => CliError::NotReady(message),
        Code::InvalidArgument => CliError::usage(message),
        _ => CliError::failed(message),
    }
}

/// Writes a message as a line of JSON.
pub(super) fn print_json(message: &impl ToJson) -> Result<(), CliError> {
    print(&format!("{}\n", message.to_json()))
}
