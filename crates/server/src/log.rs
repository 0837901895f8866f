//! What the server says of itself: a line an event on standard error, as text or as JSON. Lines are written by a thread of
//! their own and left out where nobody takes them: a reader that stalls must not stall answers.

use std::{io, panic};

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
    panic::set_hook(Box::new(|panic| tracing::error!(panic = %panic, "something panicked")));
    Log(guard)
}
