//! Fetching published files: resumed where they were cut off, checked before they appear under their name.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ureq::{Agent, http::Response};

use super::{catalogue::Entry, find::Places, md5_of_reader};
use crate::{
    Error, Result,
    data::{Event, Listener},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest silence; the whole may take as long as it takes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often one address is tried when the connection breaks.
const ATTEMPTS: u64 = 3;
/// A file whose size is not known may have as many bytes.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes between two reports.
const REPORT_EVERY: u64 = 1 << 20;

/// Downloads the files of a dataset that are not there yet.
pub(super) fn fetch_all(entry: &Entry, places: &Places, listener: Listener) -> Result<()> {
    let folder = places.download_folder(entry);
    let missing: Vec<_> = entry.files.iter().filter(|file| !folder.join(file.name).is_file()).collect();
    for (index, file) in missing.iter().enumerate() {
        let urls = match &places.mirror {
            Some(mirror) => {
                let dataset = entry.folders.first().unwrap_or(&entry.name);
                vec![format!("{}/{dataset}/{}", mirror.trim_end_matches('/'), file.name)]
            }
            None => file.urls.iter().map(ToString::to_string).collect(),
        };
        let by_hand = missing[index..].iter().map(|file| file.urls[0].to_string()).collect();
        let request = Request { name: file.name, urls, by_hand, bytes: file.bytes, md5: file.md5, folder: &folder };
        if places.offline {
            return Err(request.failed(&request.urls[0], "the network is switched off by PERCEPT_OFFLINE"));
        }
        request.fetch(listener)?;
    }
    Ok(())
}

/// One file to fetch.
struct Request<'a> {
    name: &'a str,
    /// Where to fetch it from: the next if one fails.
    urls: Vec<String>,
    /// Where a user fetches it by hand, and the files that are missing after it.
    by_hand: Vec<String>,
    bytes: Option<u64>,
    md5: &'a str,
    folder: &'a Path,
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
    fn fetch(&self, listener: Listener) -> Result<PathBuf> {
        fs::create_dir_all(self.folder).map_err(Error::io("create", self.folder))?;
        let target = self.folder.join(self.name);
        let mut part = Part::open(self)?;
        let mut failed = None;
        for url in &self.urls {
            match self.try_address(url, &mut part, listener) {
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

    fn try_address(&self, url: &str, part: &mut Part, listener: Listener) -> Result<(), Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.transfer(url, part, listener) {
                Err(Failure::CutOff(_)) if attempt < ATTEMPTS => thread::sleep(Duration::from_millis(300 * attempt)),
                other => return other,
            }
        }
    }

    /// One request: appends to the part, or starts it again where the server does.
    fn transfer(&self, url: &str, part: &mut Part, listener: Listener) -> Result<(), Failure> {
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
        self.receive(response.into_body().into_reader(), part, total, listener)
    }

    fn receive(
        &self,
        mut body: impl Read,
        part: &mut Part,
        total: Option<u64>,
        listener: Listener,
    ) -> Result<(), Failure> {
        let total = total.or(self.bytes);
        let limit = self.bytes.map_or(MAX_BYTES, |bytes| bytes.saturating_mul(2));
        let mut buffer = vec![0; 1 << 16];
        let mut reported = 0;
        let report = |done| listener(Event::Download { file: self.name.into(), done, total });
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
                report(part.length);
            }
        }
        report(part.length);
        match total {
            Some(total) if part.length < total => {
                Err(Failure::CutOff(format!("cut off after {} of {total} bytes", part.length)))
            }
            _ => Ok(()),
        }
    }

    fn hint(&self) -> String {
        let (what, them) = if self.by_hand.len() == 1 { ("it", "it") } else { ("these files", "them") };
        let (folder, addresses) = (self.folder.display(), self.by_hand.join(" "));
        format!(
            "fetch {what} by hand and put {them} into {folder}, or name the folder that holds {them} with --data-dir: \
             {addresses}"
        )
    }

    fn failed(&self, url: &str, reason: &str) -> Error {
        Error::Download { url: url.into(), reason: reason.into(), hint: self.hint() }
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
        let found = md5_of_reader(&mut self.file).map_err(Error::io("read", &self.path))?;
        let Self { path, notes, file, .. } = self;
        if found != request.md5 {
            drop(file);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            let _ = fs::remove_file(&notes);
            let reason = format!("what {url} sent has MD5 {found}, expected {}; it was removed", request.md5);
            return Err(Error::damaged(target, reason, format!("try again, or {}", request.hint())));
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
