//! Decoded images on disk: one file of u8 that is mapped into memory, so that only the first look at a source
//! costs decoding and data may be larger than memory. A file is written whole or not at all, never changed
//! afterwards, and rebuilt where it is damaged. What is in it follows from the source alone: splits are decided
//! by whoever reads it.

mod file;
mod sink;

use std::{env, path::PathBuf};

use sha2::{Digest, Sha256};

use self::sink::Sink;
use super::{
    BadImages, DatasetConfig, Event, Listener, Source, Split, UnreadableImage,
    reading::{ContentHash, PictureReader, Reading},
};
use crate::{
    Error, Result,
    files::hexadecimal,
    image::{self, Filter, Image, ImageShape},
};

pub(super) use self::file::Pixels;

/// Decoded images that are held back for one batch.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// Raw pixels up to this many bytes are quicker to make again than to look up.
const SMALL: usize = 4 << 20;

/// The folder of downloads and decoded images: `PERCEPT_CACHE`, or else `percept` in the user's cache folder, or
/// in the system's folder for temporary files where there is none.
pub fn default_cache_dir() -> PathBuf {
    match env::var_os("PERCEPT_CACHE") {
        Some(path) if !path.is_empty() => path.into(),
        _ => dirs::cache_dir().unwrap_or_else(env::temp_dir).join("percept"),
    }
}

/// Every readable image of a source, decoded, with what the source said of it.
pub(super) struct Decoded {
    pub shape: ImageShape,
    pub facts: Facts,
    /// `[images, height, width, channels]`
    pub pixels: Pixels,
}

/// What is known of each image beside its pixels, by image.
#[derive(Default)]
pub(super) struct Facts {
    pub labels: Vec<u32>,
    pub given: Vec<Option<Split>>,
    pub contents: Vec<ContentHash>,
    pub names: Vec<String>,
    pub unreadable: Vec<UnreadableImage>,
    /// Samples of each class that the source lists, readable or not.
    pub listed: Vec<u64>,
}

/// Takes the decoded images of a source from the cache, or decodes them and leaves them there.
pub(super) fn open(source: &Source, config: &DatasetConfig, listener: Listener) -> Result<Decoded> {
    if let Some(size) = config.image_size {
        check_size(size)?;
    }
    let path = config.cache_dir.join("decoded").join(format!("{}.percept", key(source, config)));
    match file::load(&path, source.labels()) {
        Ok(Some(decoded)) => return refuse_unreadable(decoded, config, source),
        Ok(None) => {}
        Err(reason) => listener(Event::Note(format!(
            "the decoded images in {} cannot be used ({reason}) and are made again",
            path.display()
        ))),
    }
    decode(source, config, listener, path)
}

fn check_size(size: [usize; 2]) -> Result<()> {
    const LARGEST: usize = 4096;
    if size.iter().all(|side| (1..=LARGEST).contains(side)) {
        return Ok(());
    }
    let [height, width] = size;
    Err(Error::invalid(
        format!("image size {height}×{width} is out of range"),
        format!("choose sides from 1 to {LARGEST} pixels"),
    ))
}

/// Names the file: another source, size, fit or format is another file.
fn key(source: &Source, config: &DatasetConfig) -> String {
    let resized = config.image_size.map(|size| (size, config.fit));
    let filter = config.image_size.filter(|_| config.filter != Filter::default()).map(|_| config.filter);
    let sets = source.sets.as_ref().map_or(String::new(), |sets| format!(" {sets:?}"));
    let text = format!(
        "{} {:?} {} {resized:?}{} {:?}{sets}",
        file::VERSION,
        source.identity,
        source.channels,
        filter.map_or(String::new(), |filter| format!(" {filter:?}")),
        source.classes
    );
    hexadecimal(&Sha256::digest(text))
}

/// Keeps images that were decoded already, as `identity` names them, in one file of their own where they are many.
pub(super) fn keep<'a>(
    identity: &str,
    shape: ImageShape,
    facts: Facts,
    images: impl Iterator<Item = &'a [u8]>,
    config: &DatasetConfig,
    listener: Listener,
) -> Result<Decoded> {
    let text = format!("{} {identity} {:?} {:?}", file::VERSION, config.fit, config.filter);
    let name = format!("{}.percept", hexadecimal(&Sha256::digest(text)));
    let path = config.cache_dir.join("decoded").join(name);
    if let Ok(Some(decoded)) = file::load(&path, facts.listed.len()) {
        return Ok(decoded);
    }
    let mut sink = Sink::new(path, listener);
    images.into_iter().try_for_each(|image| sink.write(image))?;
    sink.finish(shape, facts)
}

/// The same answer whether unreadable files were found now or when the cache was made.
fn refuse_unreadable(decoded: Decoded, config: &DatasetConfig, source: &Source) -> Result<Decoded> {
    match decoded.facts.unreadable.first() {
        Some(image) if config.bad_images == BadImages::Fail => Err(unreadable(source, &image.name, &image.reason)),
        _ => Ok(decoded),
    }
}

fn unreadable(source: &Source, name: &str, reason: &str) -> Error {
    Error::invalid(
        format!("cannot read image {name} of {}: {reason}", source.location),
        "replace or remove the file, or pass --bad-images skip to go on without it",
    )
}

fn decode(source: &Source, config: &DatasetConfig, listener: Listener, path: PathBuf) -> Result<Decoded> {
    let mut reader = PictureReader::open(source, listener)?.with_size(config.image_size, config.framing());
    let mut sink = Sink::new(path, listener);
    let mut facts = Facts { listed: vec![0; source.labels()], ..Facts::default() };
    let mut first: Option<(String, ImageShape)> = None;
    let make = |image: Image, encoded: Option<&[u8]>| Ok((fit(image, source, config)?, encoded.is_some()));
    loop {
        let known = config.image_size.map(|[height, width]| height * width * source.channels);
        let bytes = known.or(first.as_ref().map(|(_, shape)| shape.len()));
        let limit = bytes.map_or(1, |bytes| (MAX_BATCH_BYTES / bytes).clamp(rayon::current_num_threads(), 512));
        let batch = reader.next_batch(limit, make)?;
        if batch.is_empty() {
            break;
        }
        let mut pixels = Vec::new();
        for reading in batch {
            if let Some((image, encoded)) = facts.add(reading, source, config)? {
                check_shape(&mut first, facts.names.last(), image.shape)?;
                sink.deserves_file |= encoded;
                pixels.extend_from_slice(&image.pixels);
            }
        }
        sink.write(&pixels)?;
    }
    reader.finish();
    let Some((_, shape)) = first else { return Err(nothing_readable(source, &facts)) };
    sink.finish(shape, facts)
}

/// Brings an image to the size asked for, where it was not decoded to it.
fn fit(image: Image, source: &Source, config: &DatasetConfig) -> Result<Image, String> {
    let image = image.with_channels(source.channels);
    if image.shape.is_empty() || image.pixels.len() != image.shape.len() || image.shape.channels != source.channels {
        return Err(format!("its pixels do not fit its size, {:?}", image.shape));
    }
    Ok(match config.image_size {
        Some([height, width]) if [height, width] != [image.shape.height, image.shape.width] => {
            image::resize(&image, height, width, config.framing())
        }
        _ => image,
    })
}

impl Facts {
    /// Keeps what is known of a reading; returns its picture if it has one.
    fn add<T>(&mut self, reading: Reading<T>, source: &Source, config: &DatasetConfig) -> Result<Option<T>> {
        let Reading { name, label, split, content, outcome } = reading;
        let Some(listed) = self.listed.get_mut(label as usize) else {
            return Err(Error::invalid(
                format!("{name} of {} has label {label}, but there are {} classes", source.location, self.listed.len()),
                "labels count from 0 and stay below the number of classes: correct the labels or the class names",
            ));
        };
        *listed += 1;
        match outcome {
            Ok(picture) => {
                self.labels.push(label);
                self.given.push(split);
                self.contents.push(content);
                self.names.push(name);
                Ok(Some(picture))
            }
            Err(reason) if config.bad_images == BadImages::Fail => Err(unreadable(source, &name, &reason)),
            Err(reason) => {
                self.unreadable.push(UnreadableImage { name, reason });
                Ok(None)
            }
        }
    }
}

fn check_shape(first: &mut Option<(String, ImageShape)>, name: Option<&String>, shape: ImageShape) -> Result<()> {
    let name = name.map_or("", String::as_str);
    let (first_name, expected) = first.get_or_insert_with(|| (name.to_owned(), shape));
    if *expected == shape {
        return Ok(());
    }
    Err(Error::invalid(
        format!(
            "the images differ in size: {first_name} has {}×{} pixels, {name} has {}×{} (width×height)",
            expected.width, expected.height, shape.width, shape.height
        ),
        "pass --image-size to bring them to one size, for example --image-size 64",
    ))
}

fn nothing_readable(source: &Source, facts: &Facts) -> Error {
    match facts.unreadable.first() {
        Some(UnreadableImage { name, reason }) => Error::invalid(
            format!(
                "none of the {} images of {} can be read; the first is {name}: {reason}",
                facts.unreadable.len(),
                source.location
            ),
            "check that the files are images and whole",
        ),
        None => Error::invalid(format!("{} holds no image", source.location), "check that it is the right data"),
    }
}
