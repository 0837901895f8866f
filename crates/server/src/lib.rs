//! Serves models over HTTP: a plain API (`POST /predict`), the Open Inference Protocol (`/v2`), and a web page for people.
//! It trusts nobody: bodies, pixels, queues, connections and times are bounded, and no file of the machine is reachable.

mod admission;
mod batcher;
mod collect;
mod config;
mod decoders;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod listen;
mod log;
mod metrics;
mod model;
mod multipart;
mod observe;
pub mod page;
mod predict;
mod queue;
mod recognise;
mod router;
mod shown;
mod signals;
mod state;
#[cfg(test)]
mod testing;
mod tls;
mod upload;
mod v2;
mod watching;

pub use config::{Access, Batching, Limits, ModelSource, Origin, ServerConfig, TlsFiles};
pub use failure::StartError;
pub use listen::serve;
pub use log::{Log, LogFormat, LogLevel, start_log};
pub use model::name_of;
pub use router::router;
pub use state::{AppState, ModelView};
