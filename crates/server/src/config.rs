//! What a server is told before it starts. Every limit has a sound default; nothing here reads a file or a variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use percept::weights::SavedModel;

/// Everything that a server can be told.
pub struct ServerConfig {
    /// The models, the first of which answers where none is named.
    pub models: Vec<ModelSource>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may call.
    pub access: Access,
    /// Encrypts connections.
    pub tls: Option<TlsFiles>,
    /// Pictures that users correct are kept in folders below this one; none are where there is none.
    pub collect: Option<PathBuf>,
    /// Origins, such as `https://shop.example`, whose pages may call from a browser; `*` is any.
    pub allowed_origins: Vec<String>,
    /// How pictures are put together.
    pub batching: Batching,
    /// What it refuses.
    pub limits: Limits,
    /// How often model files are looked at for changes; never where there is none.
    pub watch: Option<Duration>,
}

impl ServerConfig {
    /// A server of these models on 127.0.0.1:8080 with every default.
    pub fn new(models: Vec<ModelSource>) -> Self {
        Self {
            models,
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            access: Access::ThisMachine,
            tls: None,
            collect: None,
            allowed_origins: Vec::new(),
            batching: Batching::default(),
            limits: Limits::default(),
            watch: None,
        }
    }
}

/// A model and the name that it is called by.
pub struct ModelSource {
    /// In addresses: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a model comes from.
pub enum Origin {
    /// A run's folder or a model file, which is read again when it changes.
    Path(PathBuf),
    /// A model that is in memory, such as a pretrained one.
    Memory(Box<SavedModel>),
}

/// Who may call.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// Programs and pages of this machine: requests that name another host are refused, so that no web page elsewhere
    /// gets in by a name that leads here.
    ThisMachine,
    /// Whoever shows this token.
    Token(String),
    /// Everybody.
    Everybody,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How pictures of different requests are put together.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Pictures that the network sees at once, at most.
    pub max_batch: usize,
    /// How long a picture waits for others that are being decoded. One that is alone never waits.
    pub max_delay: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch: 16, max_delay: Duration::from_millis(2) }
    }
}

/// What a server refuses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pictures that are decoded, wait or are computed at once, of each model; beyond it requests are refused at once.
    pub queue: usize,
    /// Open connections; further ones wait until one closes.
    pub connections: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Pictures in a request.
    pub pictures: usize,
    /// How long a body may take to arrive, and then an answer to be found.
    pub timeout: Duration,
    /// How long a request's head may take to arrive, and a connection may be idle.
    pub head_timeout: Duration,
    /// Bytes of all bodies that are in memory at once, and of pictures in answers.
    pub memory: usize,
    /// Bytes of all corrected pictures that are kept; see [`ServerConfig::collect`].
    pub collected: u64,
    /// After the signal to end, how long requests are still accepted while the server says that it is not ready.
    pub drain_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 256,
            connections: 1024,
            body: 16 << 20,
            pixels: 64_000_000,
            pictures: 256,
            timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(15),
            memory: 512 << 20,
            collected: 4 << 30,
            drain_delay: Duration::from_secs(1),
        }
    }
}
