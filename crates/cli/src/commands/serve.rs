//! `percept serve`: answers over HTTP what pictures show.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use percept_server::{
    Access, Batching, Limits, LogFormat, LogLevel, ModelSource, Origin, ServerConfig, TlsFiles, name_of, serve,
    start_log,
};

use super::Cache;
use crate::printer::Progress;

/// Where a token may stand that is not to be seen among the arguments of running programs.
const TOKEN: &str = "PERCEPT_TOKEN";
/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs' folders, model files, or names of pretrained models; NAME=MODEL serves one under another name
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Where to listen; port 0 takes a free one. Beyond this machine it asks for --token or --no-auth
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Load a model again when its file changes; without it, when the process gets SIGHUP
    #[arg(long)]
    watch: bool,
    /// Keep pictures that users of the page correct, in a folder for each class, ready to train on; none are kept without
    #[arg(long, value_name = "DIR")]
    collect: Option<PathBuf>,
    /// A file of the pretrained model's weights, instead of those that are found on this machine or downloaded
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    cache: Cache,
    /// How many threads compute
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    access: AccessArguments,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    log: LogArguments,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Access")]
struct AccessArguments {
    /// Answer only who sends Authorization: Bearer TOKEN; also PERCEPT_TOKEN, which other users of the machine do not see
    #[arg(long, value_name = "TOKEN", conflicts_with = "no_auth")]
    token: Option<String>,
    /// Answer everybody who can reach the address; for networks that are guarded otherwise
    #[arg(long)]
    no_auth: bool,
    /// Let pages of this origin, such as https://shop.example, call from browsers; * is any
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Encrypt, with this certificate chain in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Load and limits")]
struct LimitArguments {
    /// Most pictures that are computed together: more for throughput, fewer for even times
    #[arg(long, value_name = "N", default_value_t = Batching::default().max_batch)]
    max_batch: usize,
    /// Longest wait of a picture for others that are being decoded; one that is alone never waits
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = humantime::parse_duration)]
    max_delay: Duration,
    /// Most pictures on the way, of each model; beyond it requests are refused at once, with 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue)]
    max_queue: usize,
    /// Most open connections; further ones wait
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Largest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().body >> 20)]
    max_body: usize,
    /// Largest picture, in millions of pixels
    #[arg(long, value_name = "MEGAPIXELS", default_value_t = Limits::default().pixels / 1_000_000)]
    max_pixels: u64,
    /// Most that --collect keeps, in MiB; a small picture counts as 64 KiB
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().collected >> 20)]
    max_collected: u64,
    /// Longest time for a body to arrive, and then for an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// After SIGTERM, how long requests are still taken while the server says that it is not ready
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Log")]
struct LogArguments {
    /// text to read, json for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: Format,
    /// info tells of every request, warn and error only of what went wrong
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info")]
    log_level: Level,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
}

pub fn run(arguments: Arguments) -> Result<()> {
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(false);
    let sources = arguments.models.iter().map(|model| source(model, &arguments, &progress));
    let mut config = ServerConfig::new(sources.collect::<Result<_>>()?);
    let Arguments { address, watch, collect, access, limits, log, .. } = arguments;
    config.address = address;
    config.watch = watch.then_some(WATCH);
    config.access = access_of(access.token, access.no_auth)?;
    config.allowed_origins = access.allow_origin;
    config.tls = access.tls_cert.zip(access.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    config.batching = Batching { max_batch: limits.max_batch, max_delay: limits.max_delay };
    let default = Limits::default();
    let body = limits.max_body.saturating_mul(1 << 20);
    config.limits = Limits {
        queue: limits.max_queue,
        connections: limits.max_connections,
        body,
        memory: default.memory.max(body),
        pixels: limits.max_pixels.saturating_mul(1_000_000),
        collected: limits.max_collected.saturating_mul(1 << 20),
        timeout: limits.timeout,
        drain_delay: limits.drain_delay,
        ..default
    };
    if let Some(folder) = &collect {
        percept::files::create_folder(folder)?;
    }
    config.collect = collect;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let format = log.log_format;
    let log = start_log(
        match format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        },
        match log.log_level {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
        },
    );
    let outcome = serve(config, |address| match format {
        Format::Text => progress.line(&format!("ready on {scheme}://{address}")),
        // A line for programs, as all others are.
        Format::Json => log.ready(&format!("{scheme}://{address}")),
    });
    drop(log);
    outcome.map_err(|error| match error {
        percept_server::StartError::Model(error) => error.into(),
        error => error.into(),
    })
}

fn access_of(token: Option<String>, everybody: bool) -> Result<Access> {
    let from_environment = || env::var_os(TOKEN).filter(|token| !token.is_empty());
    match token {
        Some(token) => Ok(Access::Token(token)),
        None if everybody => Ok(Access::Everybody),
        None => match from_environment() {
            Some(token) => match token.into_string() {
                Ok(token) => Ok(Access::Token(token)),
                Err(_) => bail!("{TOKEN} is not text"),
            },
            None => Ok(Access::ThisMachine),
        },
    }
}

fn source(text: &str, arguments: &Arguments, progress: &Progress) -> Result<ModelSource> {
    let (name, model) = match text.split_once('=') {
        Some((name, model)) if !name.contains(['/', '\\']) => (Some(name), PathBuf::from(model)),
        _ => (None, PathBuf::from(text)),
    };
    let sound = |name: &str| name.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
    if name.is_some_and(|name| name.is_empty() || !sound(name)) {
        bail!("{text:?} names a model with other signs than letters, digits, - _ and .");
    }
    let name = name.map_or_else(|| name_of(&model), str::to_string);
    if model.exists() {
        return Ok(ModelSource { name, origin: Origin::Path(model) });
    }
    let saved = super::open_model(&model, arguments.weights.clone(), &arguments.cache, progress);
    let saved = saved.with_context(|| format!("cannot serve {}", model.display()))?;
    Ok(ModelSource { name, origin: Origin::Memory(Box::new(saved)) })
}
