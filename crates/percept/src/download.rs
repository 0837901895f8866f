//! Fetching published files: resumed where they were cut off, checked before they appear under their name.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use md5::Md5;
use sha2::{Digest, Sha256};
use ureq::{Agent, http::Response};

use crate::{Error, Result, files::hexadecimal};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest silence; the whole may take as long as it takes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often one address is tried when the connection breaks.
const ATTEMPTS: u64 = 3;
/// A file whose size is not known may have as many bytes.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes between two reports.
const REPORT_EVERY: u64 = 1 << 20;

/// What a file has to be, in hexadecimal.
#[derive(Clone, Debug)]
pub(crate) enum Checksum {
    Md5(String),
    Sha256(String),
}

/// One file to fetch.
pub(crate) struct Request<'a> {
    /// Its name in the folder.
    pub name: &'a str,
    /// Where to fetch it from: the next if one fails.
    pub urls: Vec<String>,
    /// How a user gets it without this program.
    pub by_hand: String,
    /// Its length, where known.
    pub bytes: Option<u64>,
    pub checksum: Checksum,
    pub folder: &'a Path,
}

/// Who hears how far it is: bytes so far, and in all where known.
pub(crate) type Report<'a> = &'a dyn Fn(u64, Option<u64>);

/// Whether `PERCEPT_OFFLINE` forbids the network.
pub(crate) fn is_offline() -> bool {
    std::env::var("PERCEPT_OFFLINE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"))
}

/// A small text, such as a checksum, at most `most` bytes long.
///
/// # Errors
/// No connection, another answer than the text, or a longer one.
pub(crate) fn fetch_text(url: &str, most: u64) -> Result<String, String> {
    let response = agent().get(url).call().map_err(|error| explain(&error))?;
    match response.status().as_u16() {
        200 => {}
        status => return Err(format!("the server answered {status}")),
    }
    let mut text = String::new();
    let mut body = response.into_body().into_reader().take(most + 1);
    body.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > most { Err(format!("it sends more than {most} bytes")) } else { Ok(text) }
}

impl Checksum {
    fn kind(&self) -> &'static str {
        match self {
            Self::Md5(_) => "MD5",
            Self::Sha256(_) => "SHA-256",
        }
    }

    fn expected(&self) -> &str {
        let (Self::Md5(expected) | Self::Sha256(expected)) = self;
        expected
    }

    /// What these bytes have.
    fn of(&self, reader: &mut impl Read) -> io::Result<String> {
        match self {
            Self::Md5(_) => digest_of::<Md5>(reader),
            Self::Sha256(_) => digest_of::<Sha256>(reader),
        }
    }
}

/// The digest of all that a reader gives.
pub(crate) fn digest_of<D: Digest>(reader: &mut impl Read) -> io::Result<String> {
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Why an address did not give the file.
enum Failure {
    /// Another try may go on from here.
    CutOff(String),
    /// Another try would end the same way.
    Refused(String),
    /// Not the network's fault.
    Local(Error),
}

impl Request<'_> {
    /// Fetches it, unless another address than the first has it.
    ///
    /// # Errors
    /// What the best address answered, a wrong checksum, or a folder that cannot be written.
    pub fn fetch(&self, report: Report) -> Result<PathBuf> {
        fs::create_dir_all(self.folder).map_err(Error::io("create", self.folder))?;
        let target = self.folder.join(self.name);
        let mut part = Part::open(self)?;
        let mut failed = None;
        for url in &self.urls {
            match self.try_address(url, &mut part, report) {
                Ok(()) => {
                    part.finish(self, url, &target)?;
                    return Ok(target);
                }
                Err(Failure::Local(error)) => return Err(error),
                // The first address is the best one: its failure tells the most.
                Err(Failure::CutOff(reason) | Failure::Refused(reason)) => {
                    failed.get_or_insert((url, reason));
                }
            }
        }
        let (url, reason) = failed.ok_or_else(|| self.failed("nowhere", "no address is known"))?;
        Err(self.failed(url, &reason))
    }

    fn try_address(&self, url: &str, part: &mut Part, report: Report) -> Result<(), Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.transfer(url, part, report) {
                Err(Failure::CutOff(_)) if attempt < ATTEMPTS => thread::sleep(Duration::from_millis(300 * attempt)),
                other => return other,
            }
        }
    }

    /// One request: appends to the part, or starts it again where the server does.
    fn transfer(&self, url: &str, part: &mut Part, report: Report) -> Result<(), Failure> {
        let from = part.resume_from(url).map_err(Failure::Local)?;
        let mut request = agent().get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
            if !part.version.is_empty() {
                request = request.header("If-Range", part.version.as_str());
            }
        }
        let response = request.call().map_err(|error| Failure::CutOff(explain(&error)))?;
        let header = |name: &str| header_of(&response, name);
        let total = match response.status().as_u16() {
            200 => {
                part.restart(url, &version_of(&response)).map_err(Failure::Local)?;
                header("content-length").and_then(|length| length.parse().ok())
            }
            206 => match header("content-range").as_deref().and_then(parse_range) {
                Some((start, total)) if start == from => total,
                _ => {
                    part.restart(url, "").map_err(Failure::Local)?;
                    return Err(Failure::CutOff("the server sent another part than the one asked for".into()));
                }
            },
            // Nothing is left to send: either all is there, which the checksum tells, or the file is another.
            416 if header("content-range").and_then(|range| parse_total(&range)) == Some(from) => return Ok(()),
            416 => {
                part.restart(url, "").map_err(Failure::Local)?;
                return Err(Failure::CutOff("the server has less than was received before".into()));
            }
            status @ (408 | 429 | 500..) => return Err(Failure::CutOff(format!("the server answered {status}"))),
            status => return Err(Failure::Refused(format!("the server answered {status}"))),
        };
        self.receive(response.into_body().into_reader(), part, total, report)
    }

    fn receive(&self, mut body: impl Read, part: &mut Part, total: Option<u64>, report: Report) -> Result<(), Failure> {
        let total = total.or(self.bytes);
        let limit = self.bytes.map_or(MAX_BYTES, |bytes| bytes.saturating_mul(2));
        let mut buffer = vec![0; 1 << 16];
        let mut reported = 0;
        loop {
            let length = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::CutOff(format!("cut off after {} bytes: {error}", part.length))),
            };
            part.append(&buffer[..length]).map_err(Failure::Local)?;
            if part.length > limit {
                return Err(Failure::Refused(format!("it sends more than {limit} bytes")));
            }
            if part.length - reported >= REPORT_EVERY {
                reported = part.length;
                report(part.length, total);
            }
        }
        report(part.length, total);
        match total {
            Some(total) if part.length < total => {
                Err(Failure::CutOff(format!("cut off after {} of {total} bytes", part.length)))
            }
            _ => Ok(()),
        }
    }

    /// It could not be fetched.
    pub fn failed(&self, url: &str, reason: &str) -> Error {
        Error::Download { url: url.into(), reason: reason.into(), hint: self.by_hand.clone() }
    }
}

/// The file while it grows: `<name>.part`, locked, and beside it which version of which address it is.
struct Part {
    path: PathBuf,
    notes: PathBuf,
    file: File,
    length: u64,
    url: String,
    /// A strong ETag or a time of change; empty where the server gives neither.
    version: String,
}

impl Part {
    fn open(request: &Request) -> Result<Self> {
        let path = request.folder.join(format!("{}.part", request.name));
        let notes = request.folder.join(format!("{}.part.from", request.name));
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(Error::io("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another program is downloading it";
                let hint = "wait for it to end".into();
                return Err(Error::Download { url: request.urls[0].clone(), reason: reason.into(), hint });
            }
            // Some network file systems know no locks; the checksum still guards the result.
            Err(TryLockError::Error(_)) => {}
        }
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let text = fs::read_to_string(&notes).unwrap_or_default();
        let (url, version) = text.split_once('\n').unwrap_or_default();
        Ok(Self { url: url.into(), version: version.trim_end().into(), path, notes, file, length })
    }

    /// Where to go on: the end, if what is there came from this address.
    fn resume_from(&mut self, url: &str) -> Result<u64> {
        if self.url != url {
            self.restart(url, "")?;
        }
        self.file.seek(SeekFrom::End(0)).map_err(Error::io("write", &self.path))
    }

    fn restart(&mut self, url: &str, version: &str) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(Error::io("write", &self.path))?;
        self.length = 0;
        (self.url, self.version) = (url.into(), version.into());
        fs::write(&self.notes, format!("{url}\n{version}\n")).map_err(Error::io("write", &self.notes))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Compares the checksum and gives the file its name.
    fn finish(mut self, request: &Request, url: &str, target: &Path) -> Result<()> {
        self.file.rewind().map_err(Error::io("read", &self.path))?;
        let found = request.checksum.of(&mut self.file).map_err(Error::io("read", &self.path))?;
        let Self { path, notes, file, .. } = self;
        if found != request.checksum.expected() {
            drop(file);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            let _ = fs::remove_file(&notes);
            let (kind, expected) = (request.checksum.kind(), request.checksum.expected());
            let reason = format!("what {url} sent has {kind} {found}, expected {expected}; it was removed");
            return Err(Error::damaged(target, reason, format!("try again, or {}", request.by_hand)));
        }
        file.sync_all().map_err(Error::io("write", &path))?;
        drop(file); // Windows renames no open file
        fs::rename(&path, target).map_err(Error::io("write", target))?;
        let _ = fs::remove_file(&notes);
        // A folder can be synchronised where it can be opened, that is, not on Windows.
        if let Ok(folder) = File::open(request.folder) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .http_status_as_error(false)
        .user_agent(concat!("percept/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host is unknown, or this machine has no network".into(),
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::Io(error) => format!("no connection: {error}"),
        other => other.to_string(),
    }
}

fn header_of<B>(response: &Response<B>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_string)
}

/// What `If-Range` may hold (RFC 9110, 13.1.5): a strong ETag, or else the time of the last change.
fn version_of<B>(response: &Response<B>) -> String {
    let strong = header_of(response, "etag").filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| header_of(response, "last-modified")).unwrap_or_default()
}

/// The start and the total of `bytes 100-199/200`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    Some((span.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

/// The total of `bytes */200`.
fn parse_total(range: &str) -> Option<u64> {
    range.split_once('/')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests;
