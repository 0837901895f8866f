//! Reads, hashes and decodes a source's pictures on every core, in their order and in bounded memory.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Event, Listener, Picture, Sample, Source, Split, source::known_length};
use crate::{
    Result,
    image::{self, Framing, Image},
};

/// Files beyond this are refused unread: no photograph comes near.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Encoded bytes that one batch may hold.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// The first 16 bytes of the SHA-256 of a picture's file, or of its raw pixels: what identifies its content.
pub(super) type ContentHash = u128;

/// One sample after it was read: what was made of its picture, or why it could not be read.
pub(super) struct Reading<T> {
    pub name: String,
    pub label: u32,
    pub split: Option<Split>,
    pub content: ContentHash,
    pub outcome: Result<T, String>,
}

/// Hands out a source's pictures, batch by batch.
pub(super) struct PictureReader<'a> {
    samples: Box<dyn Iterator<Item = Result<Sample>> + Send>,
    channels: usize,
    /// The height and width that encoded pictures are decoded to, if not their own.
    size: Option<([usize; 2], Framing)>,
    progress: Progress<'a>,
}

impl<'a> PictureReader<'a> {
    pub(super) fn open(source: &Source, listener: Listener<'a>) -> Result<Self> {
        let samples = (source.samples)()?;
        let progress = Progress::new(listener, known_length(&*samples).map(|total| total as u64));
        Ok(Self { samples, channels: source.channels, size: None, progress })
    }

    /// Has encoded pictures decoded to a height and width.
    pub(super) fn with_size(self, size: Option<[usize; 2]>, framing: Framing) -> Self {
        Self { size: size.map(|size| (size, framing)), ..self }
    }

    /// Reads up to `limit` pictures; none are left when it returns none. `make` turns a decoded picture, and its
    /// encoded bytes where it had any, into what is wanted, in parallel.
    pub(super) fn next_batch<T: Send>(
        &mut self,
        limit: usize,
        make: impl Fn(Image, Option<&[u8]>) -> Result<T, String> + Sync,
    ) -> Result<Vec<Reading<T>>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < limit.max(1) && bytes < MAX_BATCH_BYTES {
            let Some(sample) = self.samples.next().transpose()? else { break };
            bytes += match &sample.picture {
                Picture::File(_) => 0,
                Picture::Encoded(bytes) => bytes.len(),
                Picture::Pixels(image) => image.pixels.len(),
            };
            batch.push(sample);
        }
        let (channels, size, progress) = (self.channels, self.size, &self.progress);
        let decode = |bytes: &[u8]| match size {
            Some((size, framing)) => image::decode_for(bytes, channels, size, framing),
            None => image::decode(bytes, channels),
        };
        let read = |sample| {
            let reading = read_one(sample, decode, &make);
            progress.advance();
            reading
        };
        Ok(batch.into_par_iter().map(read).collect())
    }

    /// Says that all is read.
    pub(super) fn finish(&self) {
        self.progress.report();
    }
}

fn read_one<T>(
    sample: Sample,
    decode: impl Fn(&[u8]) -> Result<Image, String>,
    make: impl Fn(Image, Option<&[u8]>) -> Result<T, String>,
) -> Reading<T> {
    let Sample { name, label, split, picture } = sample;
    let decode = |bytes: &[u8]| make(decode(bytes)?, Some(bytes));
    let (content, outcome) = match picture {
        Picture::File(path) => match read_file(&path) {
            Ok(bytes) => (hash_bytes(&bytes), decode(&bytes)),
            Err(reason) => (0, Err(reason)),
        },
        Picture::Encoded(bytes) => (hash_bytes(&bytes), decode(&bytes)),
        Picture::Pixels(image) => (hash_image(&image), make(image, None)),
    };
    Reading { name, label, split, content, outcome }
}

/// The bytes of a picture's file, or why there are none.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let length = metadata.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("the file has {} MiB; at most {} are read", length >> 20, MAX_FILE_BYTES >> 20));
    }
    if length == 0 {
        return Err("the file is empty".to_owned());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn hash_bytes(bytes: &[u8]) -> ContentHash {
    first_half(Sha256::digest(bytes).as_slice())
}

/// Hash of raw pixels and their shape.
pub(super) fn hash_image(image: &Image) -> ContentHash {
    let mut digest = Sha256::new();
    for side in [image.shape.height, image.shape.width, image.shape.channels] {
        digest.update((side as u64).to_le_bytes());
    }
    digest.update(&image.pixels);
    first_half(digest.finalize().as_slice())
}

fn first_half(digest: &[u8]) -> ContentHash {
    digest.iter().take(16).fold(0, |hash, &byte| hash << 8 | ContentHash::from(byte))
}

/// Counts pictures and tells the listener at most ten times a second.
struct Progress<'a> {
    listener: Listener<'a>,
    start: Instant,
    /// Milliseconds from `start` to the last report.
    last: AtomicU64,
    done: AtomicU64,
    total: Option<u64>,
}

impl<'a> Progress<'a> {
    const PAUSE: Duration = Duration::from_millis(100);

    fn new(listener: Listener<'a>, total: Option<u64>) -> Self {
        Self { listener, start: Instant::now(), last: AtomicU64::new(0), done: AtomicU64::new(0), total }
    }

    fn advance(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        let (now, last) = (self.start.elapsed().as_millis() as u64, self.last.load(Ordering::Relaxed));
        let due = now >= last + Self::PAUSE.as_millis() as u64;
        if due && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.report();
        }
    }

    fn report(&self) {
        (self.listener)(Event::Decode { done: self.done.load(Ordering::Relaxed), total: self.total });
    }
}
