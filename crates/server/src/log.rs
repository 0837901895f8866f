//! What the server says of itself: a line an event on standard error, as text or as JSON. Lines are written by a thread of
//! their own and left out where nobody takes them: a reader that stalls must not stall answers.

use std::{io, panic, sync::Arc};

use tokio::task::futures::TaskLocalFuture;
use tracing::Level;
use tracing_subscriber::fmt;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// To be read.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

/// What is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what should not have happened.
    Warn,
    /// And every request.
    #[default]
    Info,
}

/// Writes what is left when it is dropped.
pub struct Log(#[expect(dead_code, reason = "its end is what counts")] tracing_appender::non_blocking::WorkerGuard);

impl Log {
    /// Says that requests are answered at this address.
    pub fn ready(&self, address: &str) {
        tracing::info!(address, "ready");
    }
}

tokio::task_local! {
    /// The id of the request that is being answered. A span would be made for every request; this costs nothing until a
    /// line is written.
    static REQUEST: Arc<str>;
}

/// Answers a request; lines that are written meanwhile name it.
pub(crate) fn within<F: Future>(request: Arc<str>, answer: F) -> TaskLocalFuture<Arc<str>, F> {
    REQUEST.scope(request, answer)
}

/// The id of the request that is being answered here.
pub(crate) fn request() -> Option<Arc<str>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Works for a request, on whatever thread.
pub(crate) fn under<T>(request: Option<Arc<str>>, work: impl FnOnce() -> T) -> T {
    match request {
        Some(request) => REQUEST.sync_scope(request, work),
        None => work(),
    }
}

/// Work for the request that is being answered here, to be done elsewhere.
pub(crate) fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let request = request();
    move || under(request, work)
}

/// Starts the log of this process. Panics are lines of it.
pub fn start_log(format: LogFormat, level: LogLevel) -> Log {
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
    };
    let builder = fmt().with_writer(writer).with_max_level(level).with_target(false).with_ansi(false);
    // One that was started before stays.
    _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish()),
    };
    panic::set_hook(Box::new(
        |panic| tracing::error!(request = request().as_deref(), panic = %panic, "something panicked"),
    ));
    Log(guard)
}
