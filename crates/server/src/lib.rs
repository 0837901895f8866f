//! Serves models over HTTP: a plain API (`POST /predict`), the Open Inference Protocol (`/v2`), and a web page for people.
//! It trusts nobody: bodies, pixels, queues, connections and times are bounded, and no file of the machine is reachable.

mod batcher;
mod config;
mod failure;
mod listen;
mod model;
pub mod page;
mod predict;
mod router;
mod state;

pub use config::{Access, Batching, Limits, ModelSource, Origin, ServerConfig, TlsFiles};
pub use failure::StartError;
pub use listen::serve;
pub use model::name_of;
pub use router::router;
pub use state::{AppState, ModelView};
