//! `percept serve` as a process, and a client of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use super::{command, percept, stdout};

/// A server on a free port, ended with the test.
pub struct Server {
    process: Child,
    pub address: String,
}

impl Server {
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["serve"], arguments, &["--address", "127.0.0.1:0", "--log-level", "warn"]].concat();
        let mut process = command(folder, &arguments).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let line =
            lines.by_ref().find_map(|line| line.ok().filter(|line| line.starts_with("ready on "))).expect("gets ready");
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        let address = line.rsplit("//").next().expect("an address").to_string();
        Self { process, address }
    }

    pub fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
        BufReader::new(stream)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut connection = self.connect();
        ask(&mut connection, "GET", path, b"").expect("answers")
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// How it ended.
    pub fn wait(mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.process.try_wait().expect("waits") {
                return status.code();
            }
            sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// One request on a connection that is kept. Nothing if the connection was closed before the answer began.
pub fn ask<Stream: Read + Write>(
    connection: &mut BufReader<Stream>,
    method: &str,
    path: &str,
    body: &[u8],
) -> Option<(u16, String)> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    connection.get_mut().write_all(&[head.as_bytes(), body].concat()).ok()?;
    let (mut status, mut length, mut line) = (0, 0, String::new());
    loop {
        line.clear();
        // Closed between two requests; one that breaks off within an answer fails below.
        if connection.read_line(&mut line).ok()? == 0 {
            assert_eq!(status, 0, "an answer broke off");
            return None;
        }
        let text = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = text.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().expect("a status");
        } else if let Some(rest) = text.strip_prefix("content-length: ") {
            length = rest.parse().expect("a length");
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("a whole answer");
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// A run of few steps.
pub fn train(folder: &Path, out: &str, seed: &str) -> PathBuf {
    let arguments = ["train", "digits", "--model", "softmax", "--steps", "20", "--seed", seed, "--out", out];
    stdout(&percept(folder, &arguments));
    folder.join(out)
}
