//! Requests that nobody should send: each is answered with its status and a sentence, soon, and the server goes on.

mod common;

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, header},
};
use common::{FORM, ask, bomb, form, get, png, post, server, with};
use futures_util::{StreamExt, future::join_all, stream};
use percept_server::Access;

async fn assert_alive(server: &Router) {
    assert_eq!(post(server, "/predict", "image/png", png(8, 0)).await.status, 200);
}

#[tokio::test]
async fn pictures_that_are_none() {
    let server = server();
    let whole = png(30, 0);
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (&whole[..whole.len() / 2], "truncated PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", "JPEG"),
        (&bomb(), "60000x60000 pixels: more than 64 megapixels"),
        (b"GIF89a\xff\xff\xff\xff\x00\x00\x00", "GIF"),
    ];
    for (bytes, reason) in cases {
        let begin = Instant::now();
        let answer = post(&server, "/predict", "application/octet-stream", bytes.to_vec()).await;
        assert_eq!(answer.status, 422, "{reason}");
        let expected = reason.to_lowercase();
        assert!(answer.error().to_lowercase().contains(&expected) || reason == "GIF", "{reason}: {}", answer.text());
        assert!(begin.elapsed() < Duration::from_secs(2), "{reason}");
    }
    assert_alive(&server).await;
}

#[tokio::test]
async fn types_and_paths_and_methods_that_are_not_taken() {
    let server = server();
    for kind in ["text/html", "image/svg+xml", "application/json", "image/heic", "video/mp4", "nonsense"] {
        let answer = post(&server, "/predict", kind, png(8, 0)).await;
        assert_eq!(answer.status, 415, "{kind}");
        assert!(answer.error().contains("is not taken"));
    }
    assert_eq!(post(&server, "/predict", "multipart/form-data", form(&[])).await.status, 400);
    for path in [
        "/../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2f..%2fCargo.toml",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "/assets//etc/passwd",
        "/v2/models/..%2f..%2fdigits",
        "/models/..%2f..%2fetc%2fpasswd/page",
        "//etc/passwd",
        "/v2/models/digits%00",
        "/models/%ff/page",
        "/assets/%ff",
        "/?model=a&model=b",
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("root:") && !answer.text().contains("[package]"), "{path}");
    }
    for path in ["/v2/models/%ff", "/v2/models/%ff/ready", "/v2/models/digits/versions/%ff/stats"] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.error().contains("UTF-8"), "{}", answer.text());
    }
    let answer = get(&server, "/predict").await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (405, "this path does not take this method"));
    let answer = post(&server, "/predict?top=many", "image/png", png(8, 0)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_alive(&server).await;
}

#[tokio::test]
async fn ten_thousand_tiny_parts() {
    let server = server();
    let tiny: Vec<(String, Vec<u8>)> = (0..10_000).map(|number| (format!("{number}.png"), vec![b'x'])).collect();
    let files: Vec<(&str, &[u8])> = tiny.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let answer = post(&server, "/predict", FORM, form(&files)).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (413, "the form holds more than 256 files"));
    let part = b"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n".repeat(10_000);
    let answer = post(&server, "/predict", FORM, [&part[..], b"--b--\r\n"].concat()).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    for broken in ["", "--b", "--b\r\n", "--b\r\nContent-Disposition: form-data\r\n\r\n", "no form at all"] {
        assert_eq!(post(&server, "/predict", FORM, broken).await.status, 400, "{broken:?}");
    }
    assert_alive(&server).await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_slow() {
    let server = with(|config| {
        config.limits.body = 1000;
        config.limits.timeout = Duration::from_millis(200);
    });
    let announced = post(&server, "/predict", "image/png", vec![0; 1001]).await;
    assert_eq!((announced.status.as_u16(), announced.error().as_str()), (413, "the body is larger than 1000 bytes"));
    let pieces = || stream::iter((0..20).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[0; 100]))));
    let unannounced = post(&server, "/predict", "image/png", Body::from_stream(pieces())).await;
    assert_eq!(unannounced.status, 413);
    let never = Body::from_stream(pieces().take(3).chain(stream::pending()));
    let begin = Instant::now();
    let slow = post(&server, "/v2/models/digits/infer", "application/json", never).await;
    assert_eq!((slow.status.as_u16(), slow.error().as_str()), (408, "the body took longer than 0.2 s to arrive"));
    assert!(begin.elapsed() < Duration::from_secs(5));
    // Announced as more than there is memory for, in all: refused before it is read.
    let server = with(|config| (config.limits.body, config.limits.memory) = (10_000, 10_000));
    let held = Body::from_stream(pieces().chain(stream::pending()));
    let holder = tokio::spawn({
        let server = server.clone();
        async move { post(&server, "/predict", "image/png", held).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let request = Request::post("/predict").header(header::CONTENT_LENGTH, 9_000);
    let refused = ask(&server, request.body(Body::from(vec![0; 9_000])).unwrap()).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    // So is one that says nothing of its length, once it fills it.
    let unannounced =
        Body::from_stream(stream::iter((0..90).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[0; 100])))));
    assert_eq!(post(&server, "/predict", "image/png", unannounced).await.status, 503);
    holder.abort();
    _ = holder.await;
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_body_that_unpacks_to_too_much() {
    let server = with(|config| config.limits.body = 100_000);
    let mut packed = Vec::new();
    {
        use std::io::Write;
        let mut writer = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::best());
        writer.write_all(&vec![b' '; 10_000_000]).unwrap();
    }
    assert!(packed.len() < 20_000);
    let request = |encoding| Request::post("/v2/models/digits/infer").header(header::CONTENT_ENCODING, encoding);
    let answer = ask(&server, request("gzip").body(packed.into()).unwrap()).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    let answer = ask(&server, request("gzip").body("not packed".into()).unwrap()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(ask(&server, request("br").body("x".into()).unwrap()).await.status, 415);
    assert_alive(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_queue_requests_are_refused_at_once() {
    let server = with(|config| config.limits.queue = 4);
    let picture = png(3000, 0);
    let many = (0..40).map(|_| async {
        let begin = Instant::now();
        (post(&server, "/predict", "image/png", picture.clone()).await, begin.elapsed())
    });
    let answers = join_all(many).await;
    let refused: Vec<_> = answers.iter().filter(|(answer, _)| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.len() <= 36, "{} refused", refused.len());
    for (answer, _) in &answers {
        assert!(answer.status == 503 || answer.status == 200, "{}", answer.text());
    }
    for (answer, _) in refused {
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert_eq!(answer.error(), "too many pictures wait already");
    }
    assert_alive(&server).await;
    // A request of more pictures than there are places is answered all the same, a few of them at a time.
    let files: Vec<_> = (0..30).map(|_| ("a.png", png(8, 0))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let answer = post(&server, "/predict", FORM, form(&files)).await;
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_given_up() {
    let server = with(|config| config.limits.timeout = Duration::from_millis(1));
    let answer = post(&server, "/predict", "image/png", png(4000, 0)).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (504, "no answer within 0.001 s"));
}

/// Bodies that begin and do not end.
fn stalled(server: &Router, path: &'static str, count: usize, bytes: usize) -> Vec<tokio::task::JoinHandle<()>> {
    let stall = |_| {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'-'; bytes]))]);
        let (server, body) = (server.clone(), Body::from_stream(first.chain(stream::pending())));
        tokio::spawn(async move { _ = post(&server, path, FORM, body).await })
    };
    (0..count).map(stall).collect()
}

#[tokio::test]
async fn bodies_that_stall_hold_no_more_memory_than_what_came() {
    let server = server();
    // Together they may become as large as four times the memory for bodies.
    let stalled = stalled(&server, "/predict", 128, 1);
    tokio::task::yield_now().await;
    assert_alive(&server).await;
    stalled.iter().for_each(|request| request.abort());
}

#[tokio::test]
async fn who_has_not_shown_the_token_leaves_room_for_who_has() {
    let server = with(|config| {
        config.access = Access::Token("s3cret".into());
        (config.limits.body, config.limits.memory) = (64 << 10, 64 << 10);
    });
    // They fill what is theirs.
    let stalled = stalled(&server, "/", 2, 60 << 10);
    let picture = png(200, 0);
    assert!(picture.len() > 30 << 10, "{}", picture.len());
    let right = Request::post("/predict").header(header::AUTHORIZATION, "Bearer s3cret");
    let answer = ask(&server, right.body(picture.into()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    stalled.iter().for_each(|request| request.abort());
}

#[tokio::test]
async fn the_pages_form_has_the_same_bounds() {
    let server = with(|config| {
        config.limits.body = 2_000_000;
        config.limits.timeout = Duration::from_millis(500);
    });
    let tiny: Vec<(String, Vec<u8>)> = (0..10_000).map(|number| (format!("{number}.png"), vec![b'x'])).collect();
    let files: Vec<(&str, &[u8])> = tiny.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    assert_eq!(post(&server, "/", FORM, form(&files)).await.status, 413);
    for name in ["x", "token", "file"] {
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n\r\n").repeat(10_000);
        assert_eq!(post(&server, "/", FORM, [part.as_bytes(), b"--b--\r\n"].concat()).await.status, 413, "{name}");
    }
    assert_eq!(post(&server, "/", FORM, vec![0; 2_000_001]).await.status, 413);
    for broken in ["", "--b", "--b\r\n", "no form at all"] {
        assert_eq!(post(&server, "/", FORM, broken).await.status, 400, "{broken:?}");
    }
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    assert_eq!(post(&server, "/", FORM, never).await.status, 408);
    let answer = post(&server, "/", FORM, form(&[("a.png", &bomb())])).await;
    assert!(answer.status == 200 && answer.text().contains("cannot be read"), "{}", answer.text());
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_photograph_that_is_cut_in_half() {
    let folder = tempfile::tempdir().unwrap();
    let run = common::train_colours(folder.path());
    let server = with(|config| config.models = vec![common::source("colours", &run)]);
    let photograph = include_bytes!("../../percept/src/image/testdata/subsampled.jpg");
    assert_eq!(post(&server, "/predict", "image/jpeg", &photograph[..]).await.status, 200);
    let answer = post(&server, "/predict", "image/jpeg", &photograph[..photograph.len() / 2]).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.error().contains("JPEG"), "{}", answer.text());
    assert_eq!(post(&server, "/predict", "image/jpeg", &photograph[..]).await.status, 200);
}
