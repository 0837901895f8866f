//! From the system's sockets to the router, and from its signals to an end that loses no request.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::{
    AppState, ServerConfig,
    config::Limits,
    failure::StartError,
    router::router,
    signals::{Signal, Signals},
    tls, watching,
};

/// Bytes of a connection's buffer, and so the most of a request's head.
const BUFFER: usize = 64 << 10;
/// How long accepting rests where the system has no more files to give.
const REST: Duration = Duration::from_millis(100);

/// Serves until the process is told to end, and then until every admitted request is answered. `started` is called with
/// the address once requests are answered.
///
/// SIGTERM and SIGINT end it, a second one at once; SIGHUP reads every model's file, and the certificate, again.
///
/// # Errors
/// A model that cannot be read, an address that cannot be listened on, settings that cannot be used.
pub fn serve(config: ServerConfig, started: impl FnOnce(SocketAddr)) -> Result<(), StartError> {
    let state = AppState::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Thread)?;
    let outcome = runtime.block_on(run(&state, started));
    // What still decodes for nobody is not waited for.
    runtime.shutdown_background();
    outcome
}

/// The same on a listener of one's own, until `ends` says so: true for an end without the delay.
async fn run(state: &AppState, started: impl FnOnce(SocketAddr)) -> Result<(), StartError> {
    let config = &state.0.config;
    let address = config.address;
    let refused = |source| StartError::Address { address, source };
    let encryption = config.tls.as_ref().map(tls::acceptor).transpose()?;
    let encryption = encryption.map(|acceptor| Arc::new(RwLock::new(acceptor)));
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let mut signals = Signals::listen().map_err(StartError::Thread)?;
    if let Some(period) = config.watch {
        tokio::spawn(watching::watch(state.clone(), period));
    }
    let server = Server::new(state, listener, encryption.clone());
    started(server.listener.local_addr().map_err(refused)?);

    let signal = loop {
        tokio::select! {
            () = server.accept() => {}
            signal = signals.next() => match signal {
                Signal::Reload => reload(state, encryption.as_deref()),
                end => break end,
            }
        }
    };
    state.0.ready.store(false, Ordering::Release);
    tracing::info!("not ready any more: ending");
    if signal == Signal::Terminate {
        // Whoever sends requests here is to learn first that it shall not.
        let delay = sleep(config.limits.drain_delay);
        tokio::pin!(delay);
        loop {
            tokio::select! {
                () = &mut delay => break,
                () = server.accept() => {}
                end = signals.next() => if end != Signal::Reload { break },
            }
        }
    }
    tokio::select! {
        () = server.finish() => tracing::info!("every request is answered"),
        () = signals.end() => tracing::warn!("told to end at once"),
    }
    Ok(())
}

/// Off the threads that answer.
fn reload(state: &AppState, encryption: Option<&RwLock<TlsAcceptor>>) {
    let owned = state.clone();
    tokio::task::spawn_blocking(move || owned.reload());
    let (Some(files), Some(encryption)) = (&state.0.config.tls, encryption) else { return };
    match tls::acceptor(files) {
        Ok(acceptor) => *encryption.write().unwrap_or_else(PoisonError::into_inner) = acceptor,
        Err(error) => tracing::error!(error = %error, "the certificate stays"),
    }
}

struct Server<'a> {
    state: &'a AppState,
    listener: TcpListener,
    encryption: Option<Arc<RwLock<TlsAcceptor>>>,
    router: Router,
    /// A place for each connection.
    places: Arc<Semaphore>,
    /// True once connections are to close after the request that they are at.
    closing: watch::Sender<bool>,
}

impl<'a> Server<'a> {
    fn new(state: &'a AppState, listener: TcpListener, encryption: Option<Arc<RwLock<TlsAcceptor>>>) -> Self {
        let places = Arc::new(Semaphore::new(state.0.config.limits.connections));
        let router = router(state.clone());
        Self { state, listener, encryption, router, places, closing: watch::Sender::new(false) }
    }

    /// Takes one connection, once there is a place for it. Nothing is lost if this is given up before it ends.
    async fn accept(&self) {
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let stream = match self.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "a connection was not accepted");
                sleep(REST).await;
                return;
            }
        };
        let encryption = self.encryption.as_ref();
        let encryption = encryption.map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner).clone());
        let (router, closing) = (self.router.clone(), self.closing.subscribe());
        let limits = self.state.0.config.limits;
        let open = self.state.0.metrics.connections.clone();
        open.inc();
        tokio::spawn(async move {
            connect(stream, encryption, router, closing, limits).await;
            open.dec();
            drop(place);
        });
    }

    /// Closes the listener, lets every connection finish the request that it is at, and waits for all.
    async fn finish(self) {
        // Whoever is through the handshake has perhaps sent a request.
        while self.accept().now_or_never().is_some() {}
        drop(self.listener);
        self.closing.send_replace(true);
        let limits = self.state.0.config.limits;
        // A body may still arrive, and then an answer be found and taken.
        let longest = limits.head_timeout + 3 * limits.timeout;
        let all = self.places.acquire_many(limits.connections as u32);
        if timeout(longest, all).await.is_err() {
            tracing::warn!("some connections did not close");
        }
    }
}

async fn connect(
    stream: TcpStream,
    encryption: Option<TlsAcceptor>,
    router: Router,
    closing: watch::Receiver<bool>,
    limits: Limits,
) {
    // Answers are small and whole.
    _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    // Whoever does not take an answer is not waited for.
    stream.set_write_timeout(Some(limits.timeout));
    let stream = Box::pin(stream);
    match encryption {
        None => talk(stream, router, closing, limits).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = timeout(limits.head_timeout, acceptor.accept(stream)).await {
                talk(stream, router, closing, limits).await;
            }
        }
    }
}

async fn talk<Stream>(stream: Stream, router: Router, mut closing: watch::Receiver<bool>, limits: Limits)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Errors here are callers who left, or spoke no HTTP: hyper has answered what can be answered.
    let closes = async move { _ = closing.wait_for(|closing| *closing).await };
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closes => {
            connection.as_mut().graceful_shutdown();
            _ = connection.await;
        }
    }
}
