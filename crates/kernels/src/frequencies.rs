//! From JPEG's blocks of frequencies to the pixels of a smaller picture. An inverse transform and a resampling are both
//! linear, so one product with prepared weights does both along an axis, and no pixel of the large picture is made.

use crate::lanes::{multiply_add, per_isa};
use crate::{Isa, assert_len};

/// Samples, and frequencies, along a side of a block.
const SIDE: usize = 8;
/// Outputs that are summed together along a row.
pub const OUTPUTS: usize = 8;

/// The frequencies of 8 x 8 samples as a file has them, before they are multiplied by their quantisation steps:
/// `[vertical, horizontal]`.
pub type Block = [i16; SIDE * SIDE];

/// What [`OUTPUTS`] neighbouring outputs take of each horizontal frequency of a block.
pub type Weights = [[f32; OUTPUTS]; SIDE];

/// Resamples a row of blocks along it: adds the blocks, multiplied by `steps`, to `rows`, `[8, width]`, where a row of
/// sums belongs to each vertical frequency. `starts` has the first output of every block; its `weights` are those of
/// that output and the ones after it, `weights.len() / blocks.len()` times [`OUTPUTS`].
pub fn reduce_across(
    blocks: &[Block],
    steps: &[f32; SIDE * SIDE],
    starts: &[usize],
    weights: &[Weights],
    width: usize,
    rows: &mut [f32],
) {
    assert_len("the starts", starts.len(), blocks.len());
    assert_len("the rows", rows.len(), SIDE * width);
    if blocks.is_empty() {
        return;
    }
    assert!(weights.len().is_multiple_of(blocks.len()), "{} weights for {} blocks", weights.len(), blocks.len());
    across(Isa::current(), blocks, steps, starts, weights, width, rows);
}

per_isa!(
    fn across = across_body(
        blocks: &[Block], steps: &[f32; SIDE * SIDE], starts: &[usize], weights: &[Weights], width: usize, rows: &mut [f32],
    )
);

#[inline(always)]
fn across_body<const M: bool>(
    blocks: &[Block],
    steps: &[f32; SIDE * SIDE],
    starts: &[usize],
    weights: &[Weights],
    width: usize,
    rows: &mut [f32],
) {
    // Neighbours add to the same sums, and would wait for each other: blocks that are apart come after each other.
    const PHASES: usize = 8;
    let groups = weights.len() / blocks.len();
    let mut values = [[0.0; SIDE]; SIDE];
    for phase in 0..PHASES {
        for at in (phase..blocks.len()).step_by(PHASES) {
            let (frequencies, start) = (blocks[at].as_chunks::<SIDE>().0, starts[at]);
            // Fine detail is rare.
            let used = frequencies.iter().rposition(|row| *row != [0; SIDE]).map_or(0, |last| last + 1);
            for ((values, row), steps) in values[..used].iter_mut().zip(frequencies).zip(steps.as_chunks::<SIDE>().0) {
                for ((value, &frequency), &step) in values.iter_mut().zip(row).zip(steps) {
                    *value = f32::from(frequency) * step;
                }
            }
            for (group, weights) in weights[at * groups..][..groups].iter().enumerate() {
                for (row, values) in values[..used].iter().enumerate() {
                    let mut outputs = [0.0; OUTPUTS];
                    for (&value, weights) in values.iter().zip(weights) {
                        for (output, &weight) in outputs.iter_mut().zip(weights) {
                            *output = multiply_add::<M>(value, weight, *output);
                        }
                    }
                    let sums = &mut rows[row * width + start + group * OUTPUTS..][..OUTPUTS];
                    sums.iter_mut().zip(outputs).for_each(|(sum, output)| *sum += output);
                }
            }
        }
    }
}

/// Resamples down the columns: adds `rows`, `[8, width]`, to each row of `sums`, `[outputs, width]`, by that output's
/// eight weights.
pub fn reduce_down(rows: &[f32], weights: &[[f32; SIDE]], width: usize, sums: &mut [f32]) {
    assert_len("the rows", rows.len(), SIDE * width);
    assert_len("the sums", sums.len(), weights.len() * width);
    if width > 0 {
        down(Isa::current(), rows, weights, width, sums);
    }
}

per_isa!(
    fn down = down_body(rows: &[f32], weights: &[[f32; SIDE]], width: usize, sums: &mut [f32])
);

#[inline(always)]
fn down_body<const M: bool>(rows: &[f32], weights: &[[f32; SIDE]], width: usize, sums: &mut [f32]) {
    let rows: [&[f32]; SIDE] = std::array::from_fn(|row| &rows[row * width..][..width]);
    for (weights, sums) in weights.iter().zip(sums.chunks_exact_mut(width)) {
        for (at, sum) in sums.iter_mut().enumerate() {
            for (row, &weight) in rows.iter().zip(weights) {
                *sum = multiply_add::<M>(row[at], weight, *sum);
            }
        }
    }
}

/// A row of pixels of luma, around 0 as JPEG has it, rounded to bytes.
pub fn luma_to_grey(luma: &[f32], grey: &mut [u8]) {
    assert_len("the pixels", grey.len(), luma.len());
    to_grey(Isa::current(), luma, grey);
}

per_isa!(
    fn to_grey = to_grey_body(luma: &[f32], grey: &mut [u8])
);

#[inline(always)]
fn to_grey_body<const M: bool>(luma: &[f32], grey: &mut [u8]) {
    for (grey, &luma) in grey.iter_mut().zip(luma) {
        *grey = to_byte(luma + 128.0);
    }
}

/// A row of pixels of luma and chroma, blue's and red's, all around 0 as JPEG has them, as red, green and blue
/// (ITU-T T.871).
pub fn luma_and_chroma_to_rgb(luma: &[f32], blue: &[f32], red: &[f32], pixels: &mut [u8]) {
    assert_len("the chroma of blue", blue.len(), luma.len());
    assert_len("the chroma of red", red.len(), luma.len());
    assert_len("the pixels", pixels.len(), 3 * luma.len());
    to_rgb(Isa::current(), luma, blue, red, pixels);
}

per_isa!(
    fn to_rgb = to_rgb_body(luma: &[f32], blue: &[f32], red: &[f32], pixels: &mut [u8])
);

#[inline(always)]
fn to_rgb_body<const M: bool>(luma: &[f32], blue: &[f32], red: &[f32], pixels: &mut [u8]) {
    for (((pixel, &luma), &blue), &red) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(luma).zip(blue).zip(red) {
        let luma = luma + 128.0;
        *pixel = [
            to_byte(multiply_add::<M>(red, 1.402, luma)),
            to_byte(multiply_add::<M>(red, -0.714_136_3, multiply_add::<M>(blue, -0.344_136_3, luma))),
            to_byte(multiply_add::<M>(blue, 1.772, luma)),
        ];
    }
}

/// The nearest byte.
#[inline(always)]
fn to_byte(value: f32) -> u8 {
    const ROUND: f32 = 8_388_608.0; // 2^23: adding it leaves a whole number in the low bits
    (value.clamp(0.0, 255.0) + ROUND).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    fn on_every_isa(work: impl Fn()) {
        Isa::available().into_iter().for_each(|isa| isa.run(&work));
    }

    #[test]
    fn blocks_are_summed_where_they_start() {
        for (count, groups) in [(1, 1), (3, 2), (19, 1), (40, 3)] {
            let width = 3 * count + groups * OUTPUTS;
            // The last rows of some blocks, and all of one, are zeros.
            let blocks: Vec<Block> = (0..count)
                .map(|block| {
                    std::array::from_fn(|at| if at < block * 13 % 65 { (at * 37 % 41) as i16 - 20 } else { 0 })
                })
                .collect();
            let steps: [f32; 64] = std::array::from_fn(|at| (at % 9 + 1) as f32);
            let starts: Vec<usize> = (0..count).map(|block| 3 * block).collect();
            let weights = numbers(count * groups * SIDE * OUTPUTS, count);
            let weights: Vec<Weights> = weights.as_chunks::<OUTPUTS>().0.as_chunks::<SIDE>().0.to_vec();
            let before = numbers(SIDE * width, 7);
            let mut expected: Vec<f64> = before.iter().map(|&value| f64::from(value)).collect();
            for (block, &start) in starts.iter().enumerate() {
                for (row, column) in (0..SIDE * SIDE).map(|at| (at / SIDE, at % SIDE)) {
                    let at = row * SIDE + column;
                    let value = f64::from(blocks[block][at]) * f64::from(steps[at]);
                    for output in 0..groups * OUTPUTS {
                        let weight = weights[block * groups + output / OUTPUTS][column][output % OUTPUTS];
                        expected[row * width + start + output] += value * f64::from(weight);
                    }
                }
            }
            on_every_isa(|| {
                let mut rows = before.clone();
                reduce_across(&blocks, &steps, &starts, &weights, width, &mut rows);
                for (at, (&sum, expected)) in rows.iter().zip(&expected).enumerate() {
                    assert!(
                        (f64::from(sum) - expected).abs() < 1e-3 * expected.abs().max(10.0),
                        "{count} blocks, sum {at}"
                    );
                }
            });
        }
    }

    #[test]
    fn rows_are_summed_down() {
        for (outputs, width) in [(1, 1), (3, 8), (5, 37)] {
            let (rows, before) = (numbers(SIDE * width, 1), numbers(outputs * width, 2));
            let weights = numbers(outputs * SIDE, 3);
            let weights = weights.as_chunks::<SIDE>().0;
            on_every_isa(|| {
                let mut sums = before.clone();
                reduce_down(&rows, weights, width, &mut sums);
                for (at, &sum) in sums.iter().enumerate() {
                    let (output, column) = (at / width, at % width);
                    let products = (0..SIDE).map(|row| rows[row * width + column] * weights[output][row]);
                    let expected = before[at] + products.sum::<f32>();
                    assert!((sum - expected).abs() < 1e-5, "{outputs} x {width}, sum {at}: {sum}, not {expected}");
                }
            });
        }
    }

    #[test]
    fn colours_are_those_of_jfif_and_stay_in_range() {
        let luma = [0.0, -128.0, 127.0, 0.0, 0.0, -0.4, 500.0, 0.0, -128.0, 10.2];
        let blue = [0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, -100.0, 0.0, 3.0];
        let red = [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 100.0, -7.0];
        let expected = [
            [128, 128, 128],
            [0, 0, 0],
            [255, 255, 255],
            [128, 94, 255],
            [255, 57, 128],
            [128, 128, 128],
            [255, 255, 255],
            [128, 162, 0],
            [140, 0, 0],
            [128, 142, 144],
        ];
        on_every_isa(|| {
            let (mut pixels, mut grey) = ([0; 30], [0; 10]);
            luma_and_chroma_to_rgb(&luma, &blue, &red, &mut pixels);
            assert_eq!(pixels.as_chunks::<3>().0, expected);
            luma_to_grey(&luma, &mut grey);
            assert_eq!(grey, [128, 0, 255, 128, 128, 128, 255, 128, 0, 138]);
        });
    }
}
