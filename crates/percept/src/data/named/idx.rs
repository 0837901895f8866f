//! MNIST's IDX files, gzipped or not.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::Entry;
use crate::{
    Error, Result,
    data::{Picture, Sample, Source, Split, folder::hex},
    image::{Image, ImageShape},
};

/// More than any of these files holds.
const LARGEST: u64 = 2 << 30;

/// Looks into a folder for the four files.
pub(super) fn find(folder: &Path, entry: &Entry) -> Result<Option<Source>> {
    let parts = [("train", "images", 3), ("train", "labels", 1), ("t10k", "images", 3), ("t10k", "labels", 1)];
    let mut files = Vec::new();
    for (part, kind, rank) in parts {
        let spellings = [format!("{part}-{kind}-idx{rank}-ubyte"), format!("{part}-{kind}.idx{rank}-ubyte")];
        let found = spellings.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
        match found.into_iter().find(|path| path.is_file()) {
            Some(path) => files.push(path),
            None => return Ok(None),
        }
    }
    let mut hash = Sha256::new();
    for file in &files {
        let about = file.metadata().map_err(Error::io("read", file))?;
        let time = about.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(format!("{}\0{}\0{time:?}\n", file.display(), about.len()));
    }
    let classes: Vec<String> = match entry.classes {
        [] => {
            let labels = read(&files[1], 1)?.1;
            (0..=labels.iter().copied().max().unwrap_or(0)).map(|class| class.to_string()).collect()
        }
        named => named.iter().map(ToString::to_string).collect(),
    };
    let count = classes.len();
    let samples = move || {
        let mut all = Vec::new();
        for (split, pair) in [(Split::Train, &files[..2]), (Split::Test, &files[2..])] {
            all.push(pair_of(split, &pair[0], &pair[1], count)?);
        }
        Ok(Box::new(all.into_iter().flatten().map(Ok)) as Box<dyn Iterator<Item = Result<Sample>> + Send>)
    };
    Ok(Some(Source {
        name: entry.name.into(),
        location: folder.display().to_string(),
        classes,
        channels: 1,
        identity: hex(&hash.finalize()),
        // Clothes may be mirrored; what is written may not.
        mirrors: entry.name == "fashion-mnist",
        samples: Box::new(samples),
    }))
}

fn pair_of(split: Split, images: &Path, labels: &Path, classes: usize) -> Result<Vec<Sample>> {
    let (sizes, pixels) = read(images, 3)?;
    let (counts, labels_found) = read(labels, 1)?;
    if counts[0] != sizes[0] {
        let reason = format!("it has {} labels for {} images", counts[0], sizes[0]);
        return Err(Error::damaged(labels, reason, "fetch both files again"));
    }
    let shape = ImageShape { height: sizes[1], width: sizes[2], channels: 1 };
    let name = images.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut samples = Vec::with_capacity(sizes[0]);
    for (index, (image, &label)) in pixels.chunks_exact(shape.len().max(1)).zip(&labels_found).enumerate() {
        if usize::from(label) >= classes {
            let reason = format!("image {index} has label {label}; there are {classes} classes");
            return Err(Error::damaged(labels, reason, "fetch the file again"));
        }
        samples.push(Sample {
            name: format!("{name}#{index}"),
            label: label.into(),
            split: Some(split),
            picture: Picture::Pixels(Image { shape, pixels: image.to_vec() }),
        });
    }
    Ok(samples)
}

/// The sizes and the bytes of a file of `rank` dimensions.
fn read(path: &Path, rank: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let damaged = |reason: String| Error::damaged(path, reason, "fetch the file again");
    let mut bytes = Vec::new();
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let result = match zipped {
        true => GzDecoder::new(file).take(LARGEST).read_to_end(&mut bytes),
        false => file.take(LARGEST).read_to_end(&mut bytes),
    };
    result.map_err(|error| damaged(error.to_string()))?;
    let header = 4 + 4 * rank;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, rank as u8] {
        return Err(damaged(format!("it does not begin as an IDX file of {rank} dimensions of bytes does")));
    }
    let sizes: Vec<usize> =
        bytes[4..header].as_chunks::<4>().0.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
    let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let found = bytes.len() - header;
    if expected != Some(found) {
        return Err(damaged(format!("it promises {sizes:?} bytes and holds {found}")));
    }
    bytes.drain(..header);
    Ok((sizes, bytes))
}
