//! From the system's sockets to the router.

use tokio::net::TcpListener;

use crate::{AppState, ServerConfig, failure::StartError, router::router};

/// Serves until the process is told to end. `started` is called with the address once requests are answered.
///
/// # Errors
/// A model that cannot be read, an address that cannot be listened on.
pub fn serve(config: ServerConfig, started: impl FnOnce(std::net::SocketAddr)) -> Result<(), StartError> {
    let address = config.address;
    let state = AppState::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Thread)?;
    runtime.block_on(async {
        let refused = |source| StartError::Address { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        started(listener.local_addr().map_err(refused)?);
        axum::serve(listener, router(state)).await.map_err(refused)
    })
}
