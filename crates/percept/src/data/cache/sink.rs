//! Where decoded pixels go while they are made: a file beside the cache, or memory where a file is not worth it
//! or cannot be had.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::NamedTempFile;

use super::{
    super::{Event, Listener},
    Decoded, Facts, Pixels, SMALL,
    file::{self, PIXELS_START},
};
use crate::{Error, Result, image::ImageShape};

/// Pixels that memory may hold where no file can be written.
const MAX_MEMORY: usize = 1 << 30;
const UNFINISHED: &str = "unfinished-";

pub(super) struct Sink<'a> {
    path: PathBuf,
    listener: Listener<'a>,
    /// Whether the pixels were costly to make.
    pub deserves_file: bool,
    place: Place,
}

enum Place {
    /// No file yet.
    Waiting(Vec<u8>),
    /// Pixels so far are in the file.
    File { file: NamedTempFile, written: u64 },
    /// No file can be had, for this reason.
    Memory(Vec<u8>, io::Error),
}

impl<'a> Sink<'a> {
    pub(super) fn new(path: PathBuf, listener: Listener<'a>) -> Self {
        Self { path, listener, deserves_file: false, place: Place::Waiting(Vec::new()) }
    }

    /// Appends pixels.
    pub(super) fn write(&mut self, pixels: &[u8]) -> Result<()> {
        match &mut self.place {
            Place::Waiting(held) => {
                held.extend_from_slice(pixels);
                if self.deserves_file || held.len() > SMALL {
                    let held = std::mem::take(held);
                    self.move_to_file(held)?;
                }
            }
            Place::File { file, written } => match file.write_all(pixels) {
                Ok(()) => *written += pixels.len() as u64,
                Err(error) => self.move_to_memory(error, pixels)?,
            },
            Place::Memory(held, error) => {
                check_memory(&self.path, held.len() + pixels.len(), error)?;
                held.extend_from_slice(pixels);
            }
        }
        Ok(())
    }

    fn move_to_file(&mut self, held: Vec<u8>) -> Result<()> {
        match create(&self.path) {
            Ok(file) => {
                self.place = Place::File { file, written: 0 };
                self.write(&held)
            }
            Err(error) => self.settle_in_memory(held, error),
        }
    }

    /// Takes back what the file holds: the disk may be full, and nothing that was decoded is lost.
    fn move_to_memory(&mut self, error: io::Error, rest: &[u8]) -> Result<()> {
        let Place::File { file, written } = &mut self.place else { return Ok(()) };
        check_memory(&self.path, *written as usize + rest.len(), &error)?;
        let mut held = Vec::with_capacity(*written as usize + rest.len());
        let file = file.as_file_mut();
        file.seek(SeekFrom::Start(PIXELS_START)).map_err(Error::io("read", &self.path))?;
        file.take(*written).read_to_end(&mut held).map_err(Error::io("read", &self.path))?;
        held.extend_from_slice(rest);
        self.settle_in_memory(held, error)
    }

    fn settle_in_memory(&mut self, held: Vec<u8>, error: io::Error) -> Result<()> {
        check_memory(&self.path, held.len(), &error)?;
        (self.listener)(Event::Note(format!(
            "decoded images stay in memory and are decoded again next time: cannot write {} ({error})",
            folder_of(&self.path).display()
        )));
        self.place = Place::Memory(held, error);
        Ok(())
    }

    /// Makes what was written ready for use.
    pub(super) fn finish(mut self, shape: ImageShape, facts: Facts) -> Result<Decoded> {
        let metadata = file::encode(&facts);
        if let Place::File { file, .. } = &mut self.place
            && let Err(error) = complete(file.as_file_mut(), shape, facts.labels.len(), &metadata)
        {
            self.move_to_memory(error, &[])?;
        }
        match self.place {
            Place::Waiting(pixels) | Place::Memory(pixels, _) => {
                Ok(Decoded { shape, facts, pixels: Pixels::Memory(pixels) })
            }
            Place::File { file, .. } => publish(file, &self.path, facts.listed.len()),
        }
    }
}

/// An unnamed beginning in the cache's own folder, so that the rename stays on one disk.
fn create(path: &Path) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    remove_abandoned(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666)); // less the umask: a shared cache is read by others
    }
    let mut file = builder.tempfile_in(folder)?;
    file.seek(SeekFrom::Start(PIXELS_START))?;
    Ok(file)
}

/// What a killed process left behind a day ago or more.
fn remove_abandoned(folder: &Path) {
    const AGE: Duration = Duration::from_secs(24 * 3600);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let old = changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > AGE));
        if ours && old {
            let _ = fs::remove_file(entry.path()); // another process may be faster
        }
    }
}

fn complete(file: &mut File, shape: ImageShape, images: usize, metadata: &[u8]) -> io::Result<()> {
    file.write_all(metadata)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&file::header(shape, images, metadata))?;
    file.sync_all()
}

/// Gives the file its name. Where another process was first and its file is in use, that one is as good.
fn publish(file: NamedTempFile, path: &Path, classes: usize) -> Result<Decoded> {
    let renamed = file.persist(path);
    if renamed.is_ok() {
        sync_folder(folder_of(path)).map_err(Error::io("write", folder_of(path)))?;
    }
    match (file::load(path, classes), renamed) {
        (Ok(Some(decoded)), _) => Ok(decoded),
        (_, Err(error)) => Err(Error::io("write", path)(error.error)),
        (loaded, Ok(_)) => {
            let reason = loaded.err().unwrap_or_else(|| "it vanished".to_owned());
            Err(Error::damaged(path, reason, "choose another folder with --cache or PERCEPT_CACHE"))
        }
    }
}

/// Makes a rename outlast a power cut. Only Unix lets a folder be opened for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn check_memory(path: &Path, bytes: usize, error: &io::Error) -> Result<()> {
    if bytes <= MAX_MEMORY {
        return Ok(());
    }
    Err(Error::invalid(
        format!(
            "the decoded images take more than {} GiB of memory, and {} cannot be written: {error}",
            MAX_MEMORY >> 30,
            folder_of(path).display()
        ),
        "choose a folder with room for them: --cache DIR or PERCEPT_CACHE",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_disk_that_fails_midway_loses_no_pixel() {
        let folder = tempfile::TempDir::new().unwrap();
        let notes = Mutex::new(Vec::new());
        let listen = |event: Event| notes.lock().unwrap().push(format!("{event:?}"));
        let mut sink = Sink::new(folder.path().join("decoded/x.percept"), &listen);
        sink.deserves_file = true;
        sink.write(&[1, 2, 3]).unwrap();
        let Place::File { file, written } = sink.place else { panic!("this deserves a file") };
        let path = file.into_temp_path();
        let read_only = NamedTempFile::from_parts(File::open(&path).unwrap(), path);
        sink.place = Place::File { file: read_only, written };
        sink.write(&[4, 5]).unwrap();
        sink.write(&[6]).unwrap();
        let facts = Facts { labels: vec![0; 6], listed: vec![6], ..Facts::default() };
        let decoded = sink.finish(ImageShape { height: 1, width: 1, channels: 1 }, facts).unwrap();
        assert_eq!(decoded.pixels.slice(0, 6), [1, 2, 3, 4, 5, 6]);
        assert_eq!(fs::read_dir(folder.path().join("decoded")).unwrap().count(), 0);
        assert!(notes.lock().unwrap()[0].contains("decoded images stay in memory"));
    }

    #[test]
    fn what_memory_cannot_hold_is_refused() {
        let error = check_memory(Path::new("cache/x"), MAX_MEMORY + 1, &io::Error::other("disk full")).unwrap_err();
        let message = "the decoded images take more than 1 GiB of memory, and cache cannot be written: disk full";
        assert_eq!(error.to_string(), message);
        assert_eq!(error.hint(), Some("choose a folder with room for them: --cache DIR or PERCEPT_CACHE"));
    }
}
