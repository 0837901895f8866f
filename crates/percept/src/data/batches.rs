//! temporary
use serde::{Deserialize, Serialize};
use crate::image::ImageShape;
use super::augment::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling { #[default] EpochShuffle, WithReplacement }
pub struct Images<'a> { pub shape: ImageShape, pub pixels: &'a [u8], pub labels: &'a [u32], pub classes: usize }
#[derive(Default)]
pub struct Batch { pub pixels: Vec<u8>, pub labels: Vec<u32>, pub targets: Option<Vec<f32>> }
pub struct Sampler { seed: u64, images: usize, batch: usize, sampling: Sampling, epoch: u64, order: Vec<u32> }
impl Sampler {
    pub fn new(seed: u64, images: usize, batch: usize, sampling: Sampling) -> Self { Self { seed, images, batch: batch.min(images), sampling, epoch: u64::MAX, order: vec![] } }
    pub fn batch(&mut self, step: u64) -> Vec<u32> {
        let per = (self.images / self.batch) as u64;
        match self.sampling {
            Sampling::WithReplacement => { let mut r = ChaCha8Rng::seed_from_u64(self.seed ^ 0xabc); r.set_stream(step); (0..self.batch).map(|_| r.random_range(0..self.images as u32)).collect() }
            Sampling::EpochShuffle => {
                let epoch = step / per;
                if epoch != self.epoch { self.epoch = epoch; let mut r = ChaCha8Rng::seed_from_u64(self.seed ^ 0xdef); r.set_stream(epoch); self.order = (0..self.images as u32).collect(); for i in (1..self.images).rev() { let j = r.random_range(0..=i); self.order.swap(i, j); } }
                let first = (step % per) as usize * self.batch;
                self.order[first..first + self.batch].to_vec()
            }
        }
    }
}
pub fn make_batch(images: &Images, indices: &[u32], augmentation: &Augmentation, seed: u64, epoch: u64, _step: u64, batch: &mut Batch) {
    let size = images.shape.len();
    batch.pixels.resize(indices.len() * size, 0);
    batch.labels.clear();
    for (out, &i) in batch.pixels.chunks_exact_mut(size).zip(indices) {
        batch.labels.push(images.labels[i as usize]);
        let src = &images.pixels[i as usize * size..][..size];
        let (h, w, c) = (images.shape.height as isize, images.shape.width as isize, images.shape.channels);
        let mut r = ChaCha8Rng::seed_from_u64(seed ^ (u64::from(i) << 20)); r.set_stream(epoch);
        let pad = augmentation.crop as isize;
        let (dy, dx) = if pad > 0 { (r.random_range(-pad as i32..=pad as i32) as isize, r.random_range(-pad as i32..=pad as i32) as isize) } else { (0, 0) };
        let flip = match augmentation.flip { Flip::None => false, Flip::Random => r.random::<bool>(), Flip::Alternating => { let mut q = ChaCha8Rng::seed_from_u64(seed ^ (u64::from(i) << 20)); q.set_stream(u64::MAX); (q.random::<bool>() as u64 + epoch) % 2 == 1 } };
        let reflect = |v: isize, n: isize| if v < 0 { -v } else if v >= n { 2 * n - 2 - v } else { v };
        if dy == 0 && dx == 0 && !flip { out.copy_from_slice(src); continue; }
        for y in 0..h { for x in 0..w { let sy = reflect(y + dy, h); let mut sx = reflect(x + dx, w); if flip { sx = w - 1 - sx; } let s = ((sy * w + sx) as usize) * c; let o = ((y * w + x) as usize) * c; out[o..o + c].copy_from_slice(&src[s..s + c]); } }
    }
}
