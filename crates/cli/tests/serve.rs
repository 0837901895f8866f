//! `percept serve` as a process: clients of others, models replaced and signals under load, connections that stall.
#![cfg(unix)]

mod common;

use std::{
    fs,
    io::{BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use common::{
    picture, refused,
    server::{Server, ask, train},
};
use tempfile::TempDir;

#[test]
fn a_model_replaced_under_load_and_the_end_lose_no_request() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let run = train(folder, "run", "1");
    let other = train(folder, "other", "2");
    let image = fs::read(picture(&folder.join("a.png"), 8, |y, x| (y * 30 + x) as u8)).expect("reads");
    // Longer than any test: the second signal ends it.
    let server = Server::start(folder, &["run", "--drain-delay", "1h"]);
    // Of a whole measurement: PERCEPT_TEST_REQUESTS=10000.
    let requests = std::env::var("PERCEPT_TEST_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1200);
    let (answered, ending) = (AtomicUsize::new(0), AtomicBool::new(false));
    let versions: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = server.connect();
                    let mut versions = Vec::new();
                    loop {
                        match ask(&mut connection, "POST", "/predict", &image) {
                            Some((status, body)) => {
                                assert_eq!(status, 200, "{body}");
                                answered.fetch_add(1, Ordering::Relaxed);
                                let version =
                                    body.split("\"version\":\"").nth(1).and_then(|rest| rest.split('"').next());
                                versions.push(version.expect("a version").to_string());
                            }
                            // Closed after an answer: only once it was told to end.
                            None if ending.load(Ordering::Acquire) => match TcpStream::connect(&server.address) {
                                Ok(stream) => connection = BufReader::new(stream),
                                Err(_) => break versions,
                            },
                            None => panic!("a request was lost"),
                        }
                    }
                })
            })
            .collect();
        let wait_for = |count: usize| {
            let begin = Instant::now();
            while answered.load(Ordering::Relaxed) < count {
                assert!(begin.elapsed() < Duration::from_secs(60), "{} answers", answered.load(Ordering::Relaxed));
                sleep(Duration::from_millis(1));
            }
        };
        for replacement in 1..=5 {
            wait_for(requests * replacement / 6);
            let source = if replacement % 2 == 1 { &other } else { &run };
            let new = folder.join("new");
            fs::copy(source.join("model.safetensors"), &new).expect("copies");
            fs::rename(new, run.join("model.safetensors")).expect("renames");
            server.signal("HUP");
        }
        wait_for(requests);
        ending.store(true, Ordering::Release);
        server.signal("TERM");
        let begin = Instant::now();
        while server.get("/v2/health/ready").0 != 503 {
            assert!(begin.elapsed() < Duration::from_secs(60), "readiness does not drop");
        }
        // Requests are taken all the same.
        wait_for(answered.load(Ordering::Relaxed) + 20);
        server.signal("TERM");
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    assert_eq!(server.wait(), Some(0));
    assert!(versions.iter().any(|version| version == "1") && versions.iter().any(|version| version == "6"));
}

#[test]
fn a_changed_file_is_seen_and_a_damaged_one_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let run = train(folder, "run", "1");
    let whole = fs::read(run.join("model.safetensors")).expect("reads");
    let server = Server::start(folder, &["run", "--watch"]);
    let wait_for = |text: &str| {
        let begin = Instant::now();
        while !server.get("/metrics").1.contains(text) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{text}: {}", server.get("/metrics").1);
            sleep(Duration::from_millis(50));
        }
    };
    wait_for("percept_model_version{model=\"run\"} 1");
    sleep(Duration::from_millis(1100));
    fs::write(run.join("model.safetensors"), &whole[..whole.len() / 2]).expect("writes");
    wait_for("percept_model_reloads_total{model=\"run\",outcome=\"failed\"} 1");
    let answer = server.get("/v2/models/run").1;
    assert!(answer.contains("\"versions\":[\"1\"]"), "{answer}");
    fs::write(run.join("model.safetensors"), &whole).expect("writes");
    wait_for("percept_model_version{model=\"run\"} 2");
    server.signal("INT");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn stalled_connections_are_closed_and_hold_up_nobody() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", "1");
    let server = Server::start(folder, &["run", "--timeout", "1s", "--max-connections", "20"]);
    // Half a head, and a head with half a body.
    let mut halves: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(&server.address).expect("connects")).collect();
    for (number, stream) in halves.iter_mut().enumerate() {
        let text = match number % 2 {
            0 => "POST /predict HTTP/1.1\r\nHost: loc",
            _ => "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
        };
        stream.write_all(text.as_bytes()).expect("writes");
    }
    assert_eq!(server.get("/v2/health/live").0, 200);
    for (number, stream) in halves.iter_mut().enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("sets");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("is closed");
        if number % 2 == 1 {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", "1");
    refused(folder, &["serve", "nowhere"], &["there is no model at nowhere"]);
    refused(folder, &["serve", "run", "--address", "0.0.0.0:0"], &["--token", "--no-auth"]);
    refused(folder, &["serve", "run", "a=run", "a=run"], &["two models are called a"]);
    refused(folder, &["serve", "a b=run"], &["other signs"]);
    refused(folder, &["serve", "run", "--tls-cert", "none.pem", "--tls-key", "none.pem"], &["none.pem cannot be used"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    refused(folder, &["serve", "run", "--address", &address], &["cannot listen on", &address]);
}

/// The Python of an environment with tritonclient, which `./test` makes.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PERCEPT_TEST_TRITON").map(PathBuf::from)?;
    let imports = Command::new(&python).args(["-c", "import tritonclient.http"]).stderr(Stdio::null()).status();
    imports.is_ok_and(|status| status.success()).then_some(python)
}

#[test]
fn tritonclient_works_unchanged() {
    let Some(python) = python() else {
        eprintln!(
            "skipped: PERCEPT_TEST_TRITON names no Python with tritonclient[http]; ./test makes one where PyPI is reached"
        );
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", "1");
    picture(&folder.join("a.png"), 8, |y, x| (y * 30 + x) as u8);
    let server = Server::start(folder, &["digits=run"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/triton_client.py");
    let output =
        Command::new(python).arg(script).arg(&server.address).arg(folder.join("a.png")).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "every call worked");
}
