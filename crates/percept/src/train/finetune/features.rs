//! What a backbone sees in images: computed once, and kept on disk under what it depends on, image by image.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{
    Result,
    data::{
        Dataset,
        augment::{Augmentation, Moment},
    },
    files::{self, hexadecimal},
    ops::Predictor,
    train::events::{Event, Listener},
    weights::{bytes_of, floats_of},
};

/// Larger tables are not kept: reading them again is hardly faster.
const MOST_BYTES: usize = 2 << 30;
/// The tensors, and their checksum in the file's metadata.
const CONTENTS: &str = "contents";
const NAME: &str = "features";
const CHECKSUM: &str = "sha256";

/// Features of some images, view after view of each.
pub(super) struct Features {
    /// `[images, views, width]`.
    pub values: Vec<f32>,
    /// Features of one view.
    pub width: usize,
    /// Views of each image: the first as it is, the others augmented.
    pub views: usize,
}

impl Features {
    /// The features of an image: `[views, width]`.
    pub fn of(&self, image: usize) -> &[f32] {
        let length = self.views * self.width;
        &self.values[image * length..][..length]
    }
}

/// Where features come from.
pub(super) struct Extraction<'a> {
    /// The network up to its classifier.
    pub backbone: &'a mut Predictor,
    /// What tells its weights and its preprocessing from others.
    pub identity: &'a str,
    pub dataset: &'a Dataset,
    /// What the views after the first do to an image.
    pub augmentation: &'a Augmentation,
    pub seed: u64,
    /// The folder of tables.
    pub folder: PathBuf,
    /// Set when the user asks it to stop.
    pub stop: &'a AtomicBool,
}

impl Extraction<'_> {
    /// Features of `images` in `views` views: from the disk where they were computed before, image by image. Nothing if it was
    /// stopped.
    ///
    /// # Errors
    /// A setting of the augmentation that is out of range. A table that cannot be read or written is said, and no error.
    pub fn run(&mut self, images: &[u32], views: usize, listener: Listener) -> Result<Option<Features>> {
        let width = self.backbone.graph().classes();
        let path = self.folder.join(format!("{}.safetensors", self.key(views)));
        let mut table = Table::load(&path, views * width).unwrap_or_else(|reason| {
            listener(Event::Note(format!(
                "the features in {} cannot be used ({reason}) and are computed again",
                path.display()
            )));
            Table::default()
        });
        let contents = self.dataset.content_hashes();
        let wanted: Vec<u128> = images.iter().map(|&image| contents[image as usize]).collect();
        let mut known: HashSet<u128> = table.contents.iter().copied().collect();
        let missing: Vec<u32> =
            images.iter().copied().filter(|&image| known.insert(contents[image as usize])).collect();
        let batch = (self.backbone.batch_in_memory() / views).max(1);
        let total = (missing.len() * views) as u64;
        let mut done = 0;
        for chunk in missing.chunks(batch) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            listener(Event::Features { done, total });
            // In batches of one size: how an image's numbers are rounded must not depend on which others are missing.
            let mut whole = chunk.to_vec();
            whole.resize(batch, chunk[0]);
            let features = self.backbone.infer(&self.pixels(&whole, views)?);
            table.contents.extend(chunk.iter().map(|&image| contents[image as usize]));
            table.values.extend(&features[..chunk.len() * views * width]);
            done += (chunk.len() * views) as u64;
        }
        if total > 0 {
            listener(Event::Features { done: total, total });
            // Images of another split share the table, and stay in it while there is room.
            if table.bytes() > MOST_BYTES {
                table = table.only(&wanted, views * width);
            }
            if table.bytes() <= MOST_BYTES
                && let Err(error) = table.save(&path)
            {
                listener(Event::Note(format!("the features are not kept for the next time: {error}")));
            }
        }
        Ok(Some(Features { values: table.only(&wanted, views * width).values, width, views }))
    }

    /// The views of some images, image after image.
    fn pixels(&self, images: &[u32], views: usize) -> Result<Vec<u8>> {
        let shape = self.dataset.shape;
        self.augmentation.validate(shape)?;
        let contents = self.dataset.content_hashes();
        let mut pixels = vec![0; images.len() * views * shape.len()];
        let shown = pixels.par_chunks_exact_mut(shape.len()).enumerate();
        shown.for_each_init(Vec::new, |scratch, (place, into)| {
            let (image, view) = (images[place / views], (place % views) as u64);
            let source = self.dataset.image(image as usize);
            if view == 0 {
                into.copy_from_slice(source);
            } else {
                // By its content: an image's views stay what they are when its number changes.
                let number = contents[image as usize] as u32;
                let moment = Moment { seed: self.seed, epoch: view, step: view };
                self.augmentation.augment(source, into, scratch, shape, moment, number);
            }
        });
        Ok(pixels)
    }

    /// Names the table: another backbone, or way to look, is another table; so is a dataset of another name, which would only
    /// crowd this one out.
    fn key(&self, views: usize) -> String {
        let mut hash = Sha256::new();
        let shape = self.dataset.shape;
        hash.update(format!("features 2 {} {} {shape:?} {views}", self.dataset.name, self.identity));
        if views > 1 {
            hash.update(format!(" {:?} {}", self.augmentation, self.seed));
        }
        hexadecimal(&hash.finalize()[..16])
    }
}

/// Features of images, found by what the images hold.
#[derive(Default)]
struct Table {
    /// Hashes of the images, each once.
    contents: Vec<u128>,
    /// Features of all views of each in turn.
    values: Vec<f32>,
}

impl Table {
    /// The table at `path`, whose images have `length` values each; an empty one where there is none.
    fn load(path: &Path, length: usize) -> Result<Self, String> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.to_string()),
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
        let [contents, values] = [CONTENTS, NAME].map(|name| file.tensor(name).map_err(|error| error.to_string()));
        let (contents, values) = (contents?.data(), values?);
        let checksum = metadata.metadata().as_ref().and_then(|entries| entries.get(CHECKSUM));
        if checksum != Some(&checksum_of(contents, values.data())) {
            return Err("its checksum is wrong".into());
        }
        let (contents, _) = contents.as_chunks::<16>();
        let contents: Vec<u128> = contents.iter().map(|&hash| u128::from_le_bytes(hash)).collect();
        let dtype = values.dtype();
        let values = floats_of(values.data());
        if dtype != Dtype::F32 || values.len() != contents.len() * length {
            return Err(format!("it holds {} values instead of {}", values.len(), contents.len() * length));
        }
        Ok(Self { contents, values })
    }

    fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }

    /// The rows of these images alone, `length` values each, all of which it has.
    fn only(self, wanted: &[u128], length: usize) -> Self {
        if self.contents == wanted {
            return self;
        }
        let rows: HashMap<u128, usize> = self.contents.iter().enumerate().map(|(row, &hash)| (hash, row)).collect();
        let row = |hash: &u128| &self.values[rows[hash] * length..][..length];
        Self { contents: wanted.to_vec(), values: wanted.iter().flat_map(row).copied().collect() }
    }

    fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        let rows = self.contents.len();
        let contents: Vec<u8> = self.contents.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let values = bytes_of(&self.values);
        let metadata = [(CHECKSUM.to_string(), checksum_of(&contents, &values))].into();
        let unwritable = |error: safetensors::SafeTensorError| crate::Error::invalid(error.to_string(), "");
        let width = self.values.len() / rows.max(1);
        let tensors = [
            (CONTENTS, TensorView::new(Dtype::U8, vec![rows, 16], &contents).map_err(unwritable)?),
            (NAME, TensorView::new(Dtype::F32, vec![rows, width], &values).map_err(unwritable)?),
        ];
        files::write_whole(path, &safetensors::serialize(tensors, Some(metadata)).map_err(unwritable)?)
    }
}

fn checksum_of(contents: &[u8], values: &[u8]) -> String {
    hexadecimal(&Sha256::new().chain_update(contents).chain_update(values).finalize())
}
