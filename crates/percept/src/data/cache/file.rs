//! The format of the cache file: a header of fixed length, the pixels from a page boundary on, what is known of
//! each image behind them. Numbers are little-endian. Everything but the pixels is covered by a checksum.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    super::{Split, UnreadableImage},
    Decoded, Facts,
};
use crate::image::ImageShape;

/// Changes whenever the format changes, or what decoding and resizing make of a file.
pub(super) const VERSION: u32 = 2;
/// Where the pixels begin.
pub(super) const PIXELS_START: u64 = 4096;

const MAGIC: [u8; 8] = *b"PERCEPT\0";
const HEADER: usize = 104;

/// Pixels in memory, or in a file that is mapped into it.
pub(in super::super) enum Pixels {
    Memory(Vec<u8>),
    /// The whole file: pixels start at [`PIXELS_START`].
    Mapped(Mmap),
}

impl Pixels {
    /// Some bytes, counted from the first pixel.
    pub(in super::super) fn slice(&self, start: usize, length: usize) -> &[u8] {
        match self {
            Self::Memory(bytes) => &bytes[start..start + length],
            Self::Mapped(file) => &file[PIXELS_START as usize + start..][..length],
        }
    }
}

/// `magic, version, height, width, channels, images, metadata length, SHA-256 of the metadata, SHA-256 of the above`
pub(super) fn header(shape: ImageShape, images: usize, metadata: &[u8]) -> [u8; HEADER] {
    let mut fields = Vec::with_capacity(HEADER);
    fields.extend(MAGIC);
    fields.extend(VERSION.to_le_bytes());
    for side in [shape.height, shape.width, shape.channels] {
        fields.extend((side as u32).to_le_bytes());
    }
    for count in [images, metadata.len()] {
        fields.extend((count as u64).to_le_bytes());
    }
    fields.extend(Sha256::digest(metadata));
    fields.extend(Sha256::digest(&fields));
    let mut header = [0; HEADER];
    header.copy_from_slice(&fields);
    header
}

/// What is short enough for JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    unreadable: Vec<UnreadableImage>,
    listed: Vec<u64>,
}

/// Everything but the pixels: `[length, JSON], [labels], [splits], [content hashes], names ended by zero bytes`.
pub(super) fn encode(facts: &Facts) -> Vec<u8> {
    let head = serde_json::json!({ "unreadable": facts.unreadable, "listed": facts.listed }).to_string();
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head.as_bytes());
    bytes.extend(facts.labels.iter().flat_map(|label| label.to_le_bytes()));
    bytes.extend(facts.given.iter().map(|given| given.map_or(u8::MAX, |split| split as u8)));
    bytes.extend(facts.contents.iter().flat_map(|content| content.to_le_bytes()));
    for name in &facts.names {
        bytes.extend(name.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
        bytes.push(0);
    }
    bytes
}

/// Opens a cache file. Nothing where there is none; a reason where it cannot be used.
pub(super) fn load(path: &Path, classes: usize) -> Result<Option<Decoded>, String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(|_| "it is too short")?;
    let (shape, images, metadata_length, checksum) = parse_header(&header)?;
    let pixels = (images as u64).checked_mul(shape.len() as u64).ok_or("its header makes no sense")?;
    let length = PIXELS_START.checked_add(pixels).and_then(|n| n.checked_add(metadata_length));
    let found = file.metadata().map_err(|error| error.to_string())?.len();
    if length != Some(found) {
        return Err(format!("it has {found} bytes, not those that its header says"));
    }
    let map = map(&file).map_err(|error| error.to_string())?;
    let metadata = &map[(PIXELS_START + pixels) as usize..];
    if Sha256::digest(metadata).as_slice() != checksum {
        return Err("its checksum does not match".to_owned());
    }
    let facts = parse(metadata, images).ok_or("its metadata makes no sense")?;
    if facts.listed.len() != classes || facts.labels.iter().any(|&label| label as usize >= classes) {
        return Err("its labels do not fit the classes".to_owned());
    }
    Ok(Some(Decoded { shape, facts, pixels: Pixels::Mapped(map) }))
}

fn parse_header(header: &[u8; HEADER]) -> Result<(ImageShape, usize, u64, [u8; 32]), String> {
    let mut fields = Fields(header);
    let mut read = || {
        let magic = fields.take(MAGIC.len())?;
        let [version, height, width, channels] = [(); 4].map(|()| fields.u32());
        let [images, metadata] = [(); 2].map(|()| fields.u64());
        let shape = ImageShape { height: height? as usize, width: width? as usize, channels: channels? as usize };
        let checksum: [u8; 32] = fields.take(32)?.try_into().ok()?;
        Some((magic == MAGIC, version?, shape, images? as usize, metadata?, checksum))
    };
    let (magic, version, shape, images, metadata, checksum) = read().ok_or("its header is too short")?;
    if !magic || Sha256::digest(&header[..HEADER - 32]).as_slice() != &header[HEADER - 32..] {
        return Err("its header is broken".to_owned());
    }
    if version != VERSION {
        return Err(format!("it is of format {version}, not {VERSION}"));
    }
    Ok((shape, images, metadata, checksum))
}

fn parse(metadata: &[u8], images: usize) -> Option<Facts> {
    let mut fields = Fields(metadata);
    let head = fields.u64()? as usize;
    let Head { unreadable, listed } = serde_json::from_slice(fields.take(head)?).ok()?;
    let labels = fields.take(images.checked_mul(4)?)?.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let given = fields.take(images)?.iter().map(|&byte| Split::ALL.get(byte as usize).copied()).collect();
    let contents = fields.take(images.checked_mul(16)?)?;
    let contents = contents.as_chunks().0.iter().map(|bytes| u128::from_le_bytes(*bytes)).collect();
    let names = fields.0.strip_suffix(&[0])?.split(|&byte| byte == 0);
    let names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    (names.len() == images).then_some(Facts { labels, given, contents, names, unreadable, listed })
}

/// What is left to parse.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// Maps a cache file into memory, for reading.
#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapping is sound while nobody changes the file below it. Cache files get their name only when
    // they are complete, are never opened for writing afterwards, and are only ever replaced by a rename, which
    // leaves a mapped file as it was. They lie in a folder that holds nothing but this program's own files.
    unsafe { Mmap::map(file) }
}
