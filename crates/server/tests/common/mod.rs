//! A server of a small model, asked without a port.
#![allow(dead_code, reason = "every test file uses a part")]

use std::{
    path::{Path, PathBuf},
    sync::{OnceLock, atomic::AtomicBool},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use percept::{
    image::{Image, ImageShape, encode_png},
    train::{Place, TrainOptions, train},
};
use percept_server::{AppState, ModelSource, Origin, ServerConfig, router};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// The run of a softmax on digits: 8x8 pixels in grey, 10 classes.
pub fn run() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let run = folder.path().join("digits");
        train_digits(&run, 20);
        (folder, run)
    });
    run
}

pub fn train_digits(run: &Path, steps: u64) {
    let mut options = TrainOptions { data: "digits".into(), steps: Some(steps), ..TrainOptions::default() };
    options.model = Some("softmax".into());
    let stop = AtomicBool::new(false);
    train(&options, &Place::New(Some(run.into())), Instant::now(), &stop, &|_| {}).expect("trains");
}

/// A run on pictures in colour of 32x32 pixels: warm ones and cold ones.
pub fn train_colours(folder: &Path) -> PathBuf {
    for (class, warm) in [("warm", true), ("cold", false)] {
        let images = folder.join("colours").join(class);
        std::fs::create_dir_all(&images).expect("creates");
        for seed in 0..20 {
            std::fs::write(images.join(format!("{seed}.png")), colour(warm, seed)).expect("writes");
        }
    }
    train_on(&folder.join("colours"), folder, &[])
}

/// A run of few steps on some data.
pub fn train_on(data: &Path, folder: &Path, change: &[fn(&mut TrainOptions)]) -> PathBuf {
    let run = folder.join("run");
    let mut options =
        TrainOptions { data: data.to_str().expect("text").into(), steps: Some(20), ..TrainOptions::default() };
    options.model = Some("softmax".into());
    options.from_scratch = true;
    options.cache_dir = Some(folder.join("cache"));
    change.iter().for_each(|change| change(&mut options));
    train(&options, &Place::New(Some(run.clone())), Instant::now(), &AtomicBool::new(false), &|_| {}).expect("trains");
    run
}

/// A picture of 32x32 pixels in a warm or a cold colour, as a PNG file.
pub fn colour(warm: bool, seed: u64) -> Vec<u8> {
    let shape = ImageShape { height: 32, width: 32, channels: 3 };
    let noise = |at: usize| (at as u64 * 31 + seed * 17) % 60;
    let level = |at: usize| if at.is_multiple_of(3) == warm { 180 } else { 40 };
    encode_png(&Image { shape, pixels: (0..shape.len()).map(|at| level(at) + noise(at) as u8).collect() })
}

pub fn source(name: &str, path: &Path) -> ModelSource {
    ModelSource { name: name.into(), origin: Origin::Path(path.into()) }
}

pub fn config() -> ServerConfig {
    ServerConfig::new(vec![source("digits", run())])
}

pub fn server() -> Router {
    with(|_| {})
}

/// A server with other settings.
pub fn with(change: impl FnOnce(&mut ServerConfig)) -> Router {
    let mut config = config();
    change(&mut config);
    router(AppState::new(config).expect("starts"))
}

/// A picture of this size as a PNG file.
pub fn png(side: usize, shade: u8) -> Vec<u8> {
    let shape = ImageShape { height: side, width: side, channels: 1 };
    let pixels = (0..shape.len()).map(|at| (at * 7 % 251) as u8 ^ shade).collect();
    encode_png(&Image { shape, pixels })
}

/// A PNG whose header promises 60,000 x 60,000 pixels.
pub fn bomb() -> Vec<u8> {
    let mut bytes = png(8, 0);
    bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    bytes
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The sentence of a failure, which says nothing of the machine.
    pub fn error(&self) -> String {
        let error = self.json()["error"].as_str().unwrap_or_default().to_string();
        assert!(!error.is_empty(), "{}", self.text());
        let folder = run().parent().and_then(Path::to_str).expect("a path");
        assert!(!self.text().contains(folder), "{}", self.text());
        error
    }
}

pub async fn ask(server: &Router, request: Request<Body>) -> Answer {
    let response = server.clone().oneshot(request).await.expect("never fails");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

pub async fn get(server: &Router, path: &str) -> Answer {
    ask(server, Request::get(path).body(Body::empty()).expect("a request")).await
}

pub async fn post(server: &Router, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header(header::CONTENT_TYPE, kind);
    ask(server, request.body(body.into()).expect("a request")).await
}

/// A form of files.
pub fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in files {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--b--\r\n");
    body
}

pub const FORM: &str = "multipart/form-data; boundary=b";
