//! Reading a few entries out of a tar archive, gzipped or not. Nothing is written to disk; all the same an entry
//! that points out of the archive is refused, since nobody means well by it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use flate2::bufread::GzDecoder;
use tar::{Archive, EntryType};

use crate::{Error, Result};

/// Unpacked bytes after which an archive is not read on.
const MAX_UNPACKED: u64 = 2 << 30;
/// Entries after which [`first_match`] gives up.
const MAX_LOOKED_AT: usize = 100;

/// A file inside an archive.
pub(super) struct Entry {
    /// Its path there.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Reads the wanted files, by the last part of their names, in the order of `wanted`, in one pass to the end, where
/// gzip's checksum stands. None of them may be larger than `max` bytes.
pub(super) fn read_entries(path: &Path, wanted: &[String], max: u64, hint: &str) -> Result<Vec<Option<Entry>>> {
    let mut found: Vec<Option<Entry>> = wanted.iter().map(|_| None).collect();
    let mut archive = open(path)?;
    for entry in archive.entries().map_err(|error| broken(path, error, hint))? {
        let mut entry = entry.map_err(|error| broken(path, error, hint))?;
        let inside = safe_path(path, &entry, hint)?;
        let name = inside.file_name().unwrap_or_default();
        let Some(index) = wanted.iter().position(|wanted| name == wanted.as_str()) else { continue };
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let damaged = |reason: String| Error::damaged(path.join(&inside), reason, hint);
        let size = entry.size();
        if size > max {
            return Err(damaged(format!("{size} bytes, more than any file of this dataset holds")));
        }
        if found[index].is_some() {
            return Err(damaged("the archive holds it twice".into()));
        }
        let mut bytes = Vec::new();
        let read = entry.read_to_end(&mut bytes);
        if bytes.len() as u64 != size {
            let cause = read.err().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(damaged(format!(
                "the archive ends or breaks inside it: expected {size} bytes, found {}{cause}",
                bytes.len()
            )));
        }
        found[index] = Some(Entry { path: inside, bytes });
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| broken(path, error, hint))?;
    Ok(found)
}

/// What `judge` makes of the first entry that it recognises, by the parts of its path.
pub(super) fn first_match<T>(path: &Path, hint: &str, judge: impl Fn(&[&str]) -> Option<T>) -> Result<Option<T>> {
    let mut archive = open(path)?;
    for entry in archive.entries().map_err(|error| broken(path, error, hint))?.take(MAX_LOOKED_AT) {
        let entry = entry.map_err(|error| broken(path, error, hint))?;
        let inside = entry.path().map_err(|error| broken(path, error, hint))?;
        let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
        if let Some(found) = judge(&parts) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> Result<Archive<Box<dyn Read>>> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(Error::io("read", path))?);
    let gzipped = file.fill_buf().map_err(Error::io("read", path))?.starts_with(&[0x1f, 0x8b]);
    let content: Box<dyn Read> = if gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    Ok(Archive::new(Box::new(content.take(MAX_UNPACKED))))
}

/// The entry's path, if it stays inside and is no link.
fn safe_path(archive: &Path, entry: &tar::Entry<impl Read>, hint: &str) -> Result<PathBuf> {
    let inside = entry.path().map_err(|error| broken(archive, error, hint))?.into_owned();
    let refuse = |what: &str| {
        let reason = format!("its entry \"{}\" {what}", inside.display().to_string().escape_debug());
        Err(Error::damaged(archive, reason, "do not unpack it; fetch the data from its publisher"))
    };
    let kind = entry.header().entry_type();
    if kind.is_symlink() || kind.is_hard_link() {
        return refuse("is a link");
    }
    let inward = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    let windows = inside.to_string_lossy().contains(['\\', ':']);
    if !inside.components().all(inward) || windows {
        return refuse("points out of the archive");
    }
    Ok(inside)
}

fn broken(path: &Path, error: io::Error, hint: &str) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Error::io("read", path)(error),
        io::ErrorKind::UnexpectedEof => Error::damaged(path, "the archive ends early", hint),
        _ => Error::damaged(path, format!("not a readable archive: {error}"), hint),
    }
}
