//! Decoded images in one file that is mapped into memory: pixels first, then what is known of them.
//!
//! The file ends with the description in JSON, its SHA-256, its length and a mark, so that pixels can be written as
//! they come and a file that was cut is noticed.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BadImages, DatasetConfig, Event, Listener, Picture, Sample, Source, Split, UnreadableImage, folder::hex};
use crate::{
    Error, Result, files,
    image::{Image, ImageShape, decode, resize},
};

/// Ends every file of this format.
const MARK: &[u8; 8] = b"PERCEPT1";
/// Samples that are decoded together.
const GROUP: usize = 512;
/// Pixels that are kept in memory instead of in a file.
const SMALL: usize = 4 << 20;

/// Pixels of all images.
pub(super) enum Pixels {
    Owned(Vec<u8>),
    Mapped(Mmap, usize),
}

impl Pixels {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map, length) => &map[..*length],
        }
    }
}

/// What is known of decoded images.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    pub shape: ImageShape,
    pub labels: Vec<u32>,
    pub names: Vec<String>,
    pub given: Vec<Option<Split>>,
    /// The first 8 bytes of each image's SHA-256.
    pub hashes: Vec<u64>,
    pub unreadable: Vec<UnreadableImage>,
}

/// The decoded images of a source, from the cache or decoded now.
///
/// # Errors
/// Images that cannot be read where that is not allowed, sizes that differ, a folder that cannot be written.
pub(super) fn open(source: &Source, config: &DatasetConfig, listener: Listener) -> Result<(Description, Pixels)> {
    let key = format!(
        "{}\0{:?}\0{:?}\0{}\0{}",
        source.identity,
        config.image_size,
        config.fit,
        source.channels,
        String::from_utf8_lossy(MARK)
    );
    let folder = config.cache_dir.join("decoded");
    let path = folder.join(format!("{}.percept", hex(&Sha256::digest(key.as_bytes()))));
    if path.exists() {
        match read(&path) {
            Ok(found) => return accept(found, config, listener),
            Err(reason) => listener(Event::Note(format!("{} is damaged ({reason}): decoding again", path.display()))),
        }
    }
    let (description, pixels) = build(source, config, &folder, &path, listener)?;
    accept((description, pixels), config, listener)
}

/// Names what could not be read, or stops for it.
fn accept(
    (description, pixels): (Description, Pixels),
    config: &DatasetConfig,
    listener: Listener,
) -> Result<(Description, Pixels)> {
    let unreadable = &description.unreadable;
    if let (Some(first), BadImages::Fail) = (unreadable.first(), config.bad_images) {
        return Err(Error::invalid(
            format!("{} cannot be read as an image: {}", first.name, first.reason),
            "repair or delete it, or use --bad-images skip",
        ));
    }
    if !unreadable.is_empty() {
        let some: Vec<_> = unreadable.iter().take(5).map(|bad| format!("{} ({})", bad.name, bad.reason)).collect();
        let more = if unreadable.len() > 5 { ", ..." } else { "" };
        listener(Event::Note(format!("{} unreadable images left out: {}{more}", unreadable.len(), some.join(", "))));
    }
    if description.labels.is_empty() {
        return Err(Error::invalid(
            format!("no image of {} can be read", config.data),
            "pass JPEG, PNG, WebP, BMP, GIF or TIFF files that open elsewhere too",
        ));
    }
    Ok((description, pixels))
}

/// Where pixels go while they are decoded: memory while they are few, then a file.
struct Sink<'a> {
    memory: Vec<u8>,
    file: Option<BufWriter<tempfile::NamedTempFile>>,
    folder: &'a Path,
    path: &'a Path,
}

impl Sink<'_> {
    fn write(&mut self, pixels: &[u8]) -> Result<()> {
        if self.file.is_none() && self.memory.len() + pixels.len() > SMALL {
            files::create_folder(self.folder)?;
            let file = tempfile::NamedTempFile::new_in(self.folder).map_err(Error::io("write", self.path))?;
            let mut file = BufWriter::with_capacity(1 << 20, file);
            file.write_all(&self.memory).map_err(Error::io("write", self.path))?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(pixels).map_err(Error::io("write", self.path)),
            None => {
                self.memory.extend_from_slice(pixels);
                Ok(())
            }
        }
    }

    fn finish(self, description: &Description) -> Result<Pixels> {
        let Some(mut file) = self.file else { return Ok(Pixels::Owned(self.memory)) };
        let text = serde_json::to_vec(description).unwrap_or_default();
        let parts: [&[u8]; 4] = [&text, &Sha256::digest(&text), &(text.len() as u64).to_le_bytes(), MARK];
        for part in parts {
            file.write_all(part).map_err(Error::io("write", self.path))?;
        }
        let file = file.into_inner().map_err(|error| Error::io("write", self.path)(error.into_error()))?;
        file.as_file().sync_all().map_err(Error::io("write", self.path))?;
        file.persist(self.path).map_err(|error| Error::io("write", self.path)(error.error))?;
        read(self.path).map(|(_, pixels)| pixels).map_err(|reason| Error::damaged(self.path, reason, "delete it"))
    }
}

fn build(
    source: &Source,
    config: &DatasetConfig,
    folder: &Path,
    path: &Path,
    listener: Listener,
) -> Result<(Description, Pixels)> {
    let mut known = Description {
        shape: ImageShape { height: 0, width: 0, channels: source.channels },
        labels: Vec::new(),
        names: Vec::new(),
        given: Vec::new(),
        hashes: Vec::new(),
        unreadable: Vec::new(),
    };
    let mut size = config.image_size;
    let mut sink = Sink { memory: Vec::new(), file: None, folder, path };
    let mut samples = (source.samples)()?;
    let mut seen = 0;
    loop {
        let group: Vec<Sample> = samples.by_ref().take(GROUP).collect::<Result<_>>()?;
        if group.is_empty() {
            break;
        }
        seen += group.len() as u64;
        let decoded: Vec<_> =
            group.into_par_iter().map(|sample| take_in(sample, source.channels, size, config)).collect();
        for (sample, result) in decoded {
            let (hash, image) = match result {
                Ok(found) => found,
                Err(reason) => {
                    known.unreadable.push(UnreadableImage { name: sample.name, reason });
                    continue;
                }
            };
            let found = [image.shape.height, image.shape.width];
            let wanted = *size.get_or_insert(found);
            if found != wanted {
                return Err(Error::invalid(
                    format!(
                        "{} is {}x{}, images before it are {}x{}",
                        sample.name, found[0], found[1], wanted[0], wanted[1]
                    ),
                    "pass --image-size to bring all images to one size",
                ));
            }
            sink.write(&image.pixels)?;
            known.labels.push(sample.label);
            known.names.push(sample.name);
            known.given.push(sample.split);
            known.hashes.push(hash);
        }
        listener(Event::Decode { done: seen, total: None });
    }
    listener(Event::Decode { done: seen, total: Some(seen) });
    let [height, width] = size.unwrap_or([1, 1]);
    known.shape = ImageShape { height, width, channels: source.channels };
    let pixels = sink.finish(&known)?;
    Ok((known, pixels))
}

/// Reads, hashes, decodes and resizes one sample.
fn take_in(
    sample: Sample,
    channels: usize,
    size: Option<[usize; 2]>,
    config: &DatasetConfig,
) -> (Sample, Result<(u64, Image), String>) {
    let result = (|| {
        let (hash, image) = match &sample.picture {
            Picture::Pixels(image) => (hash_of(&image.pixels), image.clone()),
            Picture::Encoded(bytes) => (hash_of(bytes), decode(bytes, channels)?),
            Picture::File(path) => {
                let bytes = fs::read(path).map_err(|error| error.to_string())?;
                (hash_of(&bytes), decode(&bytes, channels)?)
            }
        };
        Ok(match size {
            Some([height, width]) => (hash, resize(&image, height, width, config.fit)),
            None => (hash, image),
        })
    })();
    let about = Sample { picture: Picture::Encoded(Vec::new()), ..sample };
    (about, result)
}

/// The first 8 bytes of the SHA-256 of an image's content.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// Maps a cache file; the error is what is wrong with it.
fn read(path: &Path) -> Result<(Description, Pixels), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let map = map(&file).map_err(|error| error.to_string())?;
    let cut = || "it was cut".to_string();
    let rest = map.strip_suffix(MARK).ok_or_else(cut)?;
    let (rest, length) = rest.split_last_chunk::<8>().ok_or_else(cut)?;
    let (rest, digest) = rest.split_last_chunk::<32>().ok_or_else(cut)?;
    let start = rest.len().checked_sub(u64::from_le_bytes(*length) as usize).ok_or_else(cut)?;
    let text = &rest[start..];
    if Sha256::digest(text).as_slice() != digest {
        return Err("its checksum is wrong".into());
    }
    let description: Description = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let images = description.labels.len();
    let counts = [description.names.len(), description.given.len(), description.hashes.len()];
    if start != images * description.shape.len() || counts.iter().any(|&count| count != images) {
        return Err("its parts do not fit together".into());
    }
    Ok((description, Pixels::Mapped(map, start)))
}

/// Maps a file for reading.
#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: cache files are written under another name, renamed once they are whole, and never changed afterwards;
    // a replaced file keeps its old contents for as long as it is mapped.
    unsafe { Mmap::map(file) }
}
