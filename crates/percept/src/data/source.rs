//! Finds what a user named: a path first, where it is one, else a dataset's name.

use std::path::Path;

use super::{DatasetConfig, Event, Listener, Picture, Sample, Source, folder, named, table};
use crate::{Error, Result, image};

/// Samples that are looked at to learn the images' size.
const PROBED: usize = 256;

impl Source {
    /// Opens and lists a source; nothing is decoded.
    ///
    /// # Errors
    /// Neither a path nor a dataset's name, or a source without usable images.
    pub fn open(config: &DatasetConfig, listener: Listener) -> Result<Self> {
        let path = Path::new(&config.data);
        let is_name = named::is_name(&config.data);
        if is_name {
            if path.is_dir() {
                let other = format!("./{}", config.data);
                listener(Event::Note(format!("{} is a dataset's name; write {other} for the folder", config.data)));
            }
            return named::open(&config.data, config, listener);
        }
        if !path.exists() {
            return Err(Error::missing(
                format!("there is no file, folder or dataset named {}", config.data),
                format!("check the path, or use a name: {}", named::names().join(", ")),
            ));
        }
        if let Some(source) = named::open_path(path)? {
            return Ok(source);
        }
        if path.is_dir() {
            return folder::open(path, listener);
        }
        match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
            Some("csv" | "tsv") => table::open(path),
            _ => Err(Error::invalid(
                format!("{} is not a source of labelled images", path.display()),
                "pass a folder with one folder a class, or a CSV with the columns file_name and label",
            )),
        }
    }
}

/// What the images look like before any is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether all that were looked at have one size.
    pub uniform: bool,
    /// Median height.
    pub height: usize,
    /// Median width.
    pub width: usize,
}

/// Looks at the headers of some images, evenly spread.
///
/// # Errors
/// A source without one readable image.
pub fn probe(source: &Source) -> Result<Probe> {
    let first: Vec<Sample> = (source.samples)()?.take(1).collect::<Result<_>>()?;
    let sizes: Vec<[usize; 2]> = match first.first().map(|sample| &sample.picture) {
        // Packed formats have one size.
        Some(Picture::Pixels(image)) => vec![[image.shape.height, image.shape.width]],
        _ => {
            let all: Vec<Sample> = (source.samples)()?.filter_map(Result::ok).collect();
            let step = all.len().div_ceil(PROBED).max(1);
            all.iter().step_by(step).filter_map(|sample| dimensions(&sample.picture)).collect()
        }
    };
    if sizes.is_empty() {
        return Err(Error::invalid(
            format!("no image of {} can be read", source.location),
            "pass JPEG, PNG, WebP, BMP, GIF or TIFF files that open elsewhere too",
        ));
    }
    let median = |axis: usize| {
        let mut sides: Vec<usize> = sizes.iter().map(|size| size[axis]).collect();
        sides.sort_unstable();
        sides[sides.len() / 2]
    };
    let uniform = sizes.iter().all(|size| *size == sizes[0]);
    Ok(Probe { uniform, height: median(0), width: median(1) })
}

fn dimensions(picture: &Picture) -> Option<[usize; 2]> {
    match picture {
        Picture::File(path) => image::dimensions_of_file(path).ok(),
        Picture::Encoded(bytes) => image::dimensions(bytes).ok(),
        Picture::Pixels(image) => Some([image.shape.height, image.shape.width]),
    }
}
