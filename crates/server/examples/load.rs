//! A load for any server that answers POST requests over HTTP/1.1: the one client of `bench/serving.py`, for every side.
//!
//! `cargo run --release -p percept-server --example load -- HOST:PORT PATH FOLDER [--type image/jpeg] [--connections 64]
//! [--seconds 5] [--rate 0] [--warm 0.5] [--requests 0]`
//!
//! FOLDER holds a body a file, sent in turn. Without a rate every connection sends its next request once the last is answered:
//! saturation. With one, requests are due at that rate, evenly, whatever the server does; their times count from when they
//! were due, and those for which no connection is free wait. Prints a line of JSON: requests by outcome, answers a second,
//! times in milliseconds of those answered and of those refused with 503, and the share of a processor that this client took.
//! The first `--warm` seconds are not counted.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};

/// Longer than any server takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a timer counts by.
const TIMER: Duration = Duration::from_millis(1);

struct Load {
    address: SocketAddr,
    /// Whole requests, head and body.
    requests: Vec<Vec<u8>>,
    begin: Instant,
    warm: Duration,
    end: Duration,
    /// Requests a second; 0 for as many as are answered.
    rate: f64,
    /// Requests sent or due so far.
    next: AtomicU64,
    /// The most of them; 0 for no end but time.
    most: u64,
}

/// Times in seconds by status; 0 for a connection that failed.
type Times = BTreeMap<u16, Vec<f64>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, folder, ..] = &arguments[..] else {
        return Err(io::Error::other("usage: load HOST:PORT PATH FOLDER [--rate R] [--connections N] [--seconds S]"));
    };
    let text = |name: &str, usual: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).cloned().unwrap_or_else(|| usual.into())
    };
    let number = |name: &str, usual: &str| text(name, usual).parse::<f64>().map_err(io::Error::other);
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let kind = text("--type", "image/jpeg");
    let request = |file| -> io::Result<Vec<u8>> {
        let body = fs::read(file)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Ok([head.into_bytes(), body].concat())
    };
    let warm = number("--warm", "0.5")?;
    let load = Arc::new(Load {
        address: address.parse().map_err(io::Error::other)?,
        requests: files.into_iter().map(request).collect::<io::Result<_>>()?,
        begin: Instant::now(),
        warm: Duration::from_secs_f64(warm),
        end: Duration::from_secs_f64(warm + number("--seconds", "5")?),
        rate: number("--rate", "0")?,
        next: AtomicU64::new(0),
        most: number("--requests", "0")? as u64,
    });
    let mut connections = JoinSet::new();
    for _ in 0..number("--connections", "64")? as usize {
        connections.spawn(connect(load.clone()));
    }
    let mut times = Times::new();
    while let Some(done) = connections.join_next().await {
        for (status, more) in done.map_err(io::Error::other)? {
            times.entry(status).or_default().extend(more);
        }
    }
    println!("{}", summary(&load, times));
    Ok(())
}

/// One connection's requests, until the time is over.
async fn connect(load: Arc<Load>) -> Times {
    let (mut times, mut stream, mut buffer) = (Times::new(), None, Vec::with_capacity(1 << 16));
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        let due = match load.rate > 0.0 {
            true => load.begin + Duration::from_secs_f64(number as f64 / load.rate),
            false => Instant::now(),
        };
        if due >= load.begin + load.end || (load.most > 0 && number >= load.most) {
            return times;
        }
        let mut begin = due;
        if due > Instant::now() {
            sleep_until(due.into()).await;
            // The timer counts whole milliseconds and rings up to one late, which is none of the server's time.
            begin = Instant::now().min(due + TIMER);
        }
        if load.rate > 0.0 && load.begin.elapsed() > load.end + PATIENCE {
            return times;
        }
        let request = &load.requests[number as usize % load.requests.len()];
        let asked = timeout(PATIENCE, ask(load.address, &mut stream, request, &mut buffer)).await;
        let status = asked.unwrap_or(Err(io::ErrorKind::TimedOut.into())).unwrap_or_else(|_| {
            stream = None;
            0
        });
        if due >= load.begin + load.warm {
            times.entry(status).or_default().push(begin.elapsed().as_secs_f64());
        }
    }
}

/// The status of the answer.
async fn ask(
    address: SocketAddr,
    stream: &mut Option<TcpStream>,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    let connection = match stream {
        Some(connection) => connection,
        None => {
            let connection = TcpStream::connect(address).await?;
            connection.set_nodelay(true)?;
            stream.insert(connection)
        }
    };
    connection.write_all(request).await?;
    buffer.clear();
    let (mut whole, mut status, mut closes) = (usize::MAX, 0, false);
    while buffer.len() < whole {
        if connection.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if whole == usize::MAX
            && let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
            let length = value("content-length: ").and_then(|length| length.trim().parse::<usize>().ok());
            whole = head + 4 + length.ok_or(io::ErrorKind::InvalidData)?;
            closes = value("connection: ").is_some_and(|value| value.trim() == "close");
        }
    }
    if closes {
        *stream = None;
    }
    Ok(status)
}

fn summary(load: &Load, mut times: Times) -> Value {
    let seconds = (load.begin.elapsed().min(load.end) - load.warm).as_secs_f64();
    let counts: BTreeMap<String, usize> =
        times.iter().map(|(status, times)| (status.to_string(), times.len())).collect();
    let mut spread = |status: u16| {
        let times = times.entry(status).or_default();
        times.sort_by(f64::total_cmp);
        let part = |share: f64| {
            times.get((times.len().saturating_sub(1) as f64 * share).round() as usize).map(|time| time * 1e3)
        };
        json!({"median": part(0.5), "p90": part(0.9), "p99": part(0.99), "longest": part(1.0)})
    };
    let (answered, refused) = (spread(200), spread(503));
    let good = counts.get("200").copied().unwrap_or(0) as f64;
    json!({
        "counts": counts, "seconds": seconds, "answers_per_second": good / seconds, "answered": answered, "refused": refused,
        "client_processor": processor_seconds().map(|used| used / load.begin.elapsed().as_secs_f64()),
    })
}

/// Of this process so far, where Linux tells.
fn processor_seconds() -> Option<f64> {
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}
