//! Augmentation: training images changed at random in ways that leave their class as it is, so that a model sees
//! more pictures than there are. Bytes in, bytes out; evaluation never comes here.
//!
//! **Order.** Per image: flip, crop (one copy), rotation and zoom (one map), TrivialAugment, colour jitter, random
//! erasing. Then per batch: mixup or cutmix. What changes places comes first, so that colours are jittered and
//! rectangles erased in the picture as the model sees it; mixing comes last, so that both pictures of a pair are
//! augmented.
//!
//! **Randomness** is a pure function of seed, step (for alternating flips: epoch), image and augmentation.

mod color;
mod erase;
mod geometry;
mod mix;
#[cfg(test)]
mod tests;
mod trivial;

use serde::{Deserialize, Serialize};

pub use geometry::Padding;
use geometry::Size;

use super::random::{Draws, Purpose};
use crate::{Error, Result, image::ImageShape};

/// The place in a training that all random draws depend on, and nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The training's seed.
    pub seed: u64,
    /// The epoch, counted from 0: alternating flips change with it.
    pub epoch: u64,
    /// The step since the training began, counted from 0: everything else changes with it.
    pub step: u64,
}

/// Mirroring left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flip {
    /// Never: digits, letters, signs, whatever tells left from right.
    #[default]
    None,
    /// Every image every time with probability 1/2.
    Random,
    /// Half of the images, chosen at random, in epoch 0; from then on every image alternates. Each two epochs show
    /// every image both ways, where random flips show half of them one way twice. Jordan, "94% on CIFAR-10 in 3.29
    /// seconds on a single GPU" (2024), section 3.6.
    Alternating,
}

impl Flip {
    fn mirrors(self, moment: Moment, image: u32) -> bool {
        let coin = |time| Draws::new(moment.seed, Purpose::Flip, time, u64::from(image)).coin();
        match self {
            Self::None => false,
            Self::Random => coin(moment.step),
            Self::Alternating => coin(0) ^ (moment.epoch % 2 == 1),
        }
    }
}

/// How training images are changed at random. The default changes nothing; [`Augmentation::defaults_for`] suits kind
/// of data and model. The stronger, the longer a model has to train before it gains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Mirroring left to right. Set it to none for everything that tells left from right.
    pub flip: Flip,
    /// Shift by up to this many pixels in each direction: the image is padded by as many on each side and a window of
    /// its size is cut out at random. Raise it (32-pixel images: from 2 to 4) for trainings of more than about 30
    /// epochs; lower it where the subject touches the edges.
    pub crop: usize,
    /// What `crop`, `rotation` and `zoom` show beyond an image's edge. Choose zeros for white on black.
    pub padding: Padding,
    /// Turn by up to this many degrees in each direction, 0 to 180. 10 suits handwriting; 180 suits what has no
    /// upright position (cells, satellite pictures).
    pub rotation: f64,
    /// Enlarge or shrink by up to this part, 0 to 0.9: 0.1 stands for factors of 0.9 to 1.1. Raise it where subjects
    /// come in all sizes.
    pub zoom: f64,
    /// One random operation of TrivialAugment's list at a random strength, for colours and geometry (never mirrored).
    /// For long trainings of convolutional networks. Turns by up to 135 degrees: a 6 becomes a 9.
    pub trivial_augment: bool,
    /// Change brightness, contrast and saturation, in random order, by factors of up to this much below and above 1;
    /// 0 to 1. Raise it (0.2 to 0.4) where light and cameras vary; leave it where colour is what tells classes apart.
    pub color_jitter: f64,
    /// Probability of filling a rectangle with noise. 0.25 for long trainings, or where subjects are partly hidden.
    pub random_erasing: f64,
    /// Mixup's alpha: blend pairs of images and their labels. 0.2 for long trainings of large networks on little
    /// data; makes soft targets, so that training accuracy means less.
    pub mixup: f64,
    /// Cutmix's alpha: exchange a rectangle between pairs of images, and as much of their labels. 1 for long
    /// trainings of large networks. With `mixup` too, each batch takes one of them at random.
    pub cutmix: f64,
}

impl Augmentation {
    /// What suits a kind of data and model; `mirrors` tells whether a mirrored image is still the same thing.
    ///
    /// - A model that is not convolutional (softmax, mlp) ties what it learns to pixel positions: shifts cost it more
    ///   than they teach. It gets flips where they are allowed (a linear model of CIFAR-10 gains 0.3 to 0.7 % on
    ///   held-out training images), otherwise nothing.
    /// - Small colour images, up to 64 pixels: alternating flips and reflected shifts by a 16th of the side, 2 pixels
    ///   at 32, which suit trainings of 5 to 30 epochs.
    /// - Digits, letters and signs are never mirrored: shifts alone, and none below 16 pixels, where one pixel is far. Small turns and zooms, for writing that slants and
    ///   varies in size, pay in longer trainings than the defaults': three epochs of Fashion-MNIST lose 1.7 % by them.
    /// - Photographs: flips and shifts by an 8th of the side, since their subjects stand anywhere.
    pub fn defaults_for(mirrors: bool, shape: ImageShape, convolutional: bool) -> Self {
        let side = shape.height.min(shape.width);
        let flip = if mirrors { Flip::Alternating } else { Flip::None };
        if !convolutional {
            return Self { flip, ..Self::default() };
        }
        let crop = if mirrors && side > 64 { side / 8 } else { side / 16 };
        Self { flip, crop, ..Self::default() }
    }

    /// Whether images come out as they went in.
    pub fn is_none(&self) -> bool {
        *self == Self { padding: self.padding, ..Self::default() }
    }

    /// Whether labels become soft targets.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Refuses values that make no sense for images of this shape.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting and the value received.
    pub fn validate(&self, shape: ImageShape) -> Result<()> {
        let ImageShape { height, width, .. } = shape;
        if self.crop > 0 && self.crop >= height.min(width) {
            return Err(Error::invalid(
                format!("crop of {} pixels is too large for images of {width}×{height} pixels", self.crop),
                format!("choose a crop below {}; a 16th to an 8th of the side is usual", height.min(width)),
            ));
        }
        check("rotation", self.rotation, (0.0..=180.0).contains(&self.rotation), "from 0 to 180 degrees")?;
        check("zoom", self.zoom, (0.0..=0.9).contains(&self.zoom), "from 0 to 0.9")?;
        check("color jitter", self.color_jitter, (0.0..=1.0).contains(&self.color_jitter), "from 0 to 1")?;
        let probability = self.random_erasing;
        check("random erasing", probability, (0.0..=1.0).contains(&probability), "a probability from 0 to 1")?;
        for (name, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            check(name, alpha, alpha >= 0.0 && alpha.is_finite(), "0 (off) or a positive alpha")?;
        }
        Ok(())
    }

    /// Writes one augmented image. `source`, `target`: `[height, width, channels]`; `scratch` is any buffer.
    /// The values must have passed [`Self::validate`] for this shape.
    pub(super) fn augment(
        &self,
        source: &[u8],
        target: &mut [u8],
        scratch: &mut Vec<u8>,
        shape: ImageShape,
        moment: Moment,
        image: u32,
    ) {
        scratch.resize(shape.len(), 0);
        match shape.channels {
            1 => self.augment_channels::<1>(source, target, scratch, shape, moment, image),
            _ => self.augment_channels::<3>(source, target, scratch, shape, moment, image),
        }
    }

    fn augment_channels<const C: usize>(
        &self,
        source: &[u8],
        target: &mut [u8],
        scratch: &mut [u8],
        shape: ImageShape,
        moment: Moment,
        image: u32,
    ) {
        let size = Size { height: shape.height, width: shape.width };
        let draws = |purpose| Draws::new(moment.seed, purpose, moment.step, u64::from(image));
        let by = if self.crop > 0 { draw_shift(self.crop, &mut draws(Purpose::Crop)) } else { [0, 0] };
        geometry::shift::<C>(source, target, size, by, self.padding, self.flip.mirrors(moment, image));
        if self.rotation > 0.0 || self.zoom > 0.0 {
            let mut draws = draws(Purpose::Affine);
            let degrees = draws.between(-self.rotation, self.rotation);
            let zoom = draws.between(1.0 - self.zoom, 1.0 + self.zoom);
            scratch.copy_from_slice(target);
            geometry::warp::<C>(scratch, target, size, geometry::turn_and_zoom(size, degrees, zoom), self.padding);
        }
        if self.trivial_augment {
            trivial::trivial_augment::<C>(target, scratch, size, &mut draws(Purpose::TrivialAugment));
        }
        if self.color_jitter > 0.0 {
            jitter(target, C, self.color_jitter, &mut draws(Purpose::ColorJitter));
        }
        if self.random_erasing > 0.0 {
            let mut draws = draws(Purpose::RandomErasing);
            if draws.unit() < self.random_erasing {
                erase::erase(target, size, C, &mut draws);
            }
        }
    }

    /// Mixes the images of a batch in pairs, the first with the last and so on, by mixup or cutmix, whichever is on; returns
    /// the share that each keeps of itself. `pixels`: `[images, height, width, channels]`.
    pub(super) fn mix(&self, pixels: &mut [u8], shape: ImageShape, moment: Moment) -> f32 {
        let mut draws = Draws::new(moment.seed, Purpose::Mix, moment.step, 0);
        let cut = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => draws.coin(),
            (_, cutmix) => cutmix,
        };
        if cut {
            let size = Size { height: shape.height, width: shape.width };
            mix::cutmix(pixels, size, shape.channels, self.cutmix, &mut draws)
        } else {
            mix::mixup(pixels, shape.len(), self.mixup, &mut draws)
        }
    }
}

/// An error that names a setting, what it may be and what it is.
fn check(name: &str, value: f64, fits: bool, range: &str) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value}, but must be {range}"), format!("leave {name} out to switch it off")))
}

/// Pixels down and right, each from -`most` to `most`.
fn draw_shift(most: usize, draws: &mut Draws) -> [isize; 2] {
    [(); 2].map(|()| draws.below(2 * most as u32 + 1) as isize - most as isize)
}

/// torchvision's `ColorJitter` without hue: brightness, contrast and saturation by factors from 1 - strength to
/// 1 + strength, in random order.
fn jitter(pixels: &mut [u8], channels: usize, strength: f64, draws: &mut Draws) {
    const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for change in ORDERS[draws.below(6) as usize] {
        let factor = draws.between(1.0 - strength, 1.0 + strength) as f32;
        match change {
            0 => color::brightness(pixels, factor),
            1 => color::contrast(pixels, channels, factor),
            _ => color::saturation(pixels, channels, factor),
        }
    }
}
