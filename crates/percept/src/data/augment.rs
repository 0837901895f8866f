//! temporary
use serde::{Deserialize, Serialize};
use crate::{Result, image::ImageShape};
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flip { #[default] None, Random, Alternating }
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Augmentation { pub flip: Flip, pub crop: usize, pub color_jitter: f32, pub trivial_augment: bool, pub random_erasing: f32, pub mixup: f32, pub cutmix: f32 }
impl Augmentation {
    pub fn defaults_for(mirrors: bool, shape: ImageShape, convolutional: bool) -> Self {
        Self { flip: if mirrors { Flip::Alternating } else { Flip::None }, crop: if convolutional && shape.height >= 16 { 2 } else { 0 }, ..Self::default() }
    }
    pub fn validate(&self, _: [usize; 2]) -> Result<()> { Ok(()) }
}
