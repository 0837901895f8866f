//! What a backbone sees in images: computed once, and kept on disk under what it depends on.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{
    Result,
    data::{
        Dataset,
        augment::{Augmentation, Moment},
        batches::{Batch, Images},
    },
    files::{self, hexadecimal},
    ops::Predictor,
    train::events::{Event, Listener},
    weights::{bytes_of, floats_of},
};

/// Larger tables are not kept: reading them again is hardly faster.
const MOST_BYTES: usize = 2 << 30;
/// The tensor, and its checksum in the file's metadata.
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
    /// Features of `images` in `views` views: from the disk where they were computed before. Nothing if it was stopped.
    ///
    /// # Errors
    /// A setting of the augmentation that is out of range. A table that cannot be read or written is said, and no error.
    pub fn run(&mut self, images: &[u32], views: usize, listener: Listener) -> Result<Option<Features>> {
        let width = self.backbone.graph().classes();
        let length = images.len() * views * width;
        let path = self.folder.join(format!("{}.safetensors", self.key(images, views)));
        match load(&path, length) {
            Ok(Some(values)) => return Ok(Some(Features { values, width, views })),
            Ok(None) => {}
            Err(reason) => listener(Event::Note(format!(
                "the features in {} cannot be used ({reason}) and are computed again",
                path.display()
            ))),
        }
        let mut values = Vec::with_capacity(length);
        let batch = (self.backbone.batch_in_memory() / views).max(1);
        let total = (images.len() * views) as u64;
        for chunk in images.chunks(batch) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            listener(Event::Features { done: (values.len() / width) as u64, total });
            values.extend(self.backbone.infer(&self.pixels(chunk, views)?));
        }
        listener(Event::Features { done: total, total });
        if length * size_of::<f32>() <= MOST_BYTES
            && let Err(error) = save(&path, &values, width)
        {
            listener(Event::Note(format!("the features are not kept for the next time: {error}")));
        }
        Ok(Some(Features { values, width, views }))
    }

    /// The views of some images, image after image.
    fn pixels(&self, images: &[u32], views: usize) -> Result<Vec<u8>> {
        let shape = self.dataset.shape;
        let all = Images::of(self.dataset);
        let mut pixels = vec![0; images.len() * views * shape.len()];
        let mut batch = Batch::default();
        for view in 0..views {
            let moment = Moment { seed: self.seed, epoch: view as u64, step: view as u64 };
            let plain = Augmentation::default();
            batch.fill(&all, images, if view == 0 { &plain } else { self.augmentation }, moment)?;
            let shown = batch.pixels.chunks_exact(shape.len()).enumerate();
            shown.for_each(|(image, from)| {
                pixels[(image * views + view) * shape.len()..][..shape.len()].copy_from_slice(from)
            });
        }
        Ok(pixels)
    }

    /// Names the table: another backbone, image, or way to look is another table.
    fn key(&self, images: &[u32], views: usize) -> String {
        let mut hash = Sha256::new();
        let shape = self.dataset.shape;
        hash.update(format!("features 1 {} {shape:?} {views}", self.identity));
        if views > 1 {
            hash.update(format!(" {:?} {}", self.augmentation, self.seed));
        }
        let contents = self.dataset.content_hashes();
        for &image in images {
            hash.update(contents[image as usize].to_le_bytes());
            // An augmentation depends on the image's number, too.
            if views > 1 {
                hash.update(image.to_le_bytes());
            }
        }
        hexadecimal(&hash.finalize()[..16])
    }
}

/// The values of a table, if there is one.
fn load(path: &Path, length: usize) -> Result<Option<Vec<f32>>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
    let tensor = file.tensor(NAME).map_err(|error| error.to_string())?;
    let checksum = metadata.metadata().as_ref().and_then(|entries| entries.get(CHECKSUM));
    if checksum != Some(&hexadecimal(&Sha256::digest(tensor.data()))) {
        return Err("its checksum is wrong".into());
    }
    let values = floats_of(tensor.data());
    if tensor.dtype() != Dtype::F32 || values.len() != length {
        return Err(format!("it holds {} values instead of {length}", values.len()));
    }
    Ok(Some(values))
}

fn save(path: &Path, values: &[f32], width: usize) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    let bytes = bytes_of(values);
    let metadata = [(CHECKSUM.to_string(), hexadecimal(&Sha256::digest(&bytes)))].into();
    let unwritable = |error: safetensors::SafeTensorError| crate::Error::invalid(error.to_string(), "");
    let view = TensorView::new(Dtype::F32, vec![values.len() / width, width], &bytes).map_err(unwritable)?;
    let file = safetensors::serialize([(NAME, view)], Some(metadata)).map_err(unwritable)?;
    files::write_whole(path, &file)
}
