//! Pictures as bytes: decoding, orientation, resizing. Knows no labels, no tensors and no files of datasets.

mod decode;
mod jpeg;
mod resize;
mod views;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use decode::{MAX_PIXELS, decode, decode_for, decode_for_within, decode_within, dimensions, dimensions_of_file};
pub(crate) use resize::resize_or_lend;
pub use resize::{PADDING, encode_png, part_seen, resize};
pub use views::{View, Views};

/// Height, width and channels of an image; memory order is height, width, channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image.
    pub fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the image holds no pixel.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One picture: u8, oriented, row by row, channels innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its size.
    pub shape: ImageShape,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Image {
    /// The same picture in grey or in colour.
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        if channels == 1 { self.in_grey() } else { self.in_colour() }
    }

    /// The same picture as its luma (ITU-R BT.601), if it is in colour.
    #[must_use]
    pub fn in_grey(self) -> Self {
        if self.shape.channels == 1 {
            return self;
        }
        let pixels = self.pixels.as_chunks::<3>().0.iter().map(decode::luma).collect();
        Self { shape: ImageShape { channels: 1, ..self.shape }, pixels }
    }

    /// The same picture with three equal channels, if it is grey.
    #[must_use]
    pub fn in_colour(self) -> Self {
        if self.shape.channels == 3 {
            return self;
        }
        let pixels = self.pixels.iter().flat_map(|&grey| [grey; 3]).collect();
        Self { shape: ImageShape { channels: 3, ..self.shape }, pixels }
    }
}

/// How a picture of one aspect ratio is brought to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The whole picture, its sides scaled apart: nothing is lost, shapes are distorted.
    #[default]
    Stretch,
    /// The whole picture, the rest filled with a mean grey ([`PADDING`]): nothing is lost, pixels are unused.
    Pad,
    /// The middle of the picture: no distortion, the edges are lost.
    Crop,
}

/// How a pixel is made of those around its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// In a straight line between neighbours.
    #[default]
    Bilinear,
    /// By cubic curves (Catmull and Rom 1974), as Pillow's `BICUBIC`: sharper.
    Bicubic,
}

/// How pictures are brought to a network's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Framing {
    /// What happens to other aspect ratios.
    pub fit: Fit,
    /// How pixels are made.
    pub filter: Filter,
    /// With [`Fit::Crop`], the share of the largest middle part that is kept, above 0 and up to 1.
    pub crop: f64,
}

impl Filter {
    /// How far it reaches, in pixels.
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight of a pixel at a distance.
    fn at(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Bicubic => 0.0,
        }
    }
}

impl From<Fit> for Framing {
    fn from(fit: Fit) -> Self {
        Self { fit, filter: Filter::default(), crop: 1.0 }
    }
}

/// Extensions that are taken for images, in small letters.
pub(crate) const IMAGE_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// The images in a folder, at any depth, in order. Links are followed.
///
/// # Errors
/// A folder that cannot be read.
pub fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    folder.read_dir().map_err(Error::io("read", folder))?;
    let files = walkdir::WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_map(std::result::Result::ok);
    let images = files.filter(|file| file.file_type().is_file() && has_image_extension(file.path()));
    Ok(images.map(walkdir::DirEntry::into_path).collect())
}

/// Whether a file is taken for an image, by its name: the extension counts, in any capitalisation.
pub(crate) fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}
