//! JPEG photographs straight to a smaller size. Reading the code takes most of the time there is; what follows it, from
//! frequencies to pixels to fewer pixels, is linear and done in one step, so that the large picture is never made.
//! It takes the plain kind of files alone (see [`header`]) and is strict: whatever is odd or damaged is left to
//! [`super::decode`], which also says what is wrong.

mod axis;
mod entropy;
mod header;

use std::cell::RefCell;

use image::{DynamicImage, GrayImage, RgbImage, metadata::Orientation};
use percept_kernels::{Block, luma_and_chroma_to_rgb, luma_to_grey, reduce_across, reduce_down};

use self::{
    axis::{Across, Axis, Seen},
    entropy::Bits,
    header::{Component, Header},
};
use super::{Filter, Image, ImageShape, decode::swaps_sides, resize::Plan};

/// Memory of more bytes than this is given back after a picture.
const KEPT: usize = 16 << 20;
/// Markers: the first of eight restarts, and the picture's end.
const RESTART: u8 = 0xd0;
const END: u8 = 0xd9;

/// What a thread uses again for the next picture.
#[derive(Default)]
struct Workspace {
    /// The scan's data up to a restart, as it was before zeros were stuffed into it.
    data: Vec<u8>,
    /// A row of sums for each vertical frequency.
    rows: Vec<f32>,
    /// Of each component.
    blocks: [Vec<Block>; 3],
    sums: [Vec<f32>; 3],
}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// A component on its way to pixels.
struct Channel<'a> {
    component: &'a Component,
    geometry: &'a Geometry,
    /// A row of the scan's units: rows of blocks.
    blocks: &'a mut Vec<Block>,
    /// Blocks in such a row.
    length: usize,
    /// `[outputs, geometry.across.width]`.
    sums: &'a mut Vec<f32>,
    /// Its last block's first frequency.
    before: i16,
}

/// Where the blocks of components of one sampling go.
struct Geometry {
    sampling: [usize; 2],
    down: Axis,
    across: Across,
}

/// A JPEG as [`super::resize`] would make it of the decoded picture: the part of it that `plan` chooses for its upright
/// height and width, resampled and padded. `None` where the plan is, for pictures of more than `most` pixels, and for files
/// that are not for this.
pub(super) fn decode_for(
    bytes: &[u8],
    channels: usize,
    most: u64,
    plan: impl FnOnce(ImageShape) -> Option<Plan>,
) -> Option<Image> {
    let header = Header::read(bytes)?;
    let [height, width] = header.upright();
    if (height * width) as u64 > most {
        return None;
    }
    let plan = plan(ImageShape { height, width, channels })?;
    let image = WORKSPACE.with_borrow_mut(|workspace| {
        let image = workspace.decode(&header, bytes, channels, &plan);
        workspace.shrink();
        image
    })?;
    Some(plan.pad(image.with_channels(channels)))
}

impl Workspace {
    fn decode(&mut self, header: &Header, bytes: &[u8], channels: usize, plan: &Plan) -> Option<Image> {
        let Self { data, rows, blocks, sums } = self;
        let seen = seen_as_stored(header, plan);
        let geometries = geometries(header, &seen);
        let units = header.units();
        let mut planes = Vec::with_capacity(3);
        for ((component, blocks), sums) in header.components.iter().zip(blocks).zip(sums) {
            let geometry = geometries.iter().find(|geometry| geometry.sampling == component.sampling)?;
            let length = units[1] * component.sampling[1];
            sums.clear();
            sums.resize(seen[0].outputs * geometry.across.width, 0.0);
            planes.push(Channel { component, geometry, blocks, length, sums, before: 0 });
        }
        let wanted = if channels == 1 { 1 } else { planes.len() };
        read_scan(header, bytes.get(header.data..)?, data, &mut planes, |planes, row| {
            planes.iter_mut().take(wanted).for_each(|plane| plane.reduce(row, rows));
        })?;
        turn(to_pixels(&planes[..wanted], &seen), header.orientation)
    }

    fn shrink(&mut self) {
        let Self { data, rows, blocks, sums } = self;
        if data.capacity() > KEPT {
            *data = Vec::new();
        }
        let floats = sums.iter_mut().chain([rows]);
        floats.filter(|values| size_of::<f32>() * values.capacity() > KEPT).for_each(|values| *values = Vec::new());
        let large = |blocks: &&mut Vec<Block>| size_of::<Block>() * blocks.capacity() > KEPT;
        blocks.iter_mut().filter(large).for_each(|blocks| *blocks = Vec::new());
    }
}

/// The axes, vertical and horizontal, of the picture as it is stored.
fn seen_as_stored(header: &Header, plan: &Plan) -> [Seen; 2] {
    use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
    let ([left, top, width, height], [rows, columns], filter) = (plan.part, plan.size, plan.filter);
    let mut seen = [(top, height, rows), (left, width, columns)];
    if swaps_sides(header.orientation) {
        seen.swap(0, 1);
    }
    let backwards = [
        matches!(header.orientation, FlipVertical | Rotate180 | Rotate90 | Rotate270FlipH),
        matches!(header.orientation, FlipHorizontal | Rotate180 | Rotate270 | Rotate270FlipH),
    ];
    let sides = [header.height, header.width];
    std::array::from_fn(|axis| {
        let (start, length, outputs) = seen[axis];
        let start = if backwards[axis] { sides[axis] as f64 - start - length } else { start };
        Seen { start, length, outputs, filter }
    })
}

/// Those of all components; most share one, or are two kinds.
fn geometries(header: &Header, seen: &[Seen; 2]) -> Vec<Geometry> {
    let mut geometries: Vec<Geometry> = Vec::with_capacity(2);
    for Component { sampling, .. } in &header.components {
        if geometries.iter().all(|geometry| geometry.sampling != *sampling) {
            let sides = [header.height, header.width];
            let [down, across] =
                [0, 1].map(|axis| Axis::new(&seen[axis], sides[axis], header.sampling[axis] / sampling[axis]));
            let across = across.across(seen[1].outputs);
            geometries.push(Geometry { sampling: *sampling, down, across });
        }
    }
    geometries
}

/// Reads all blocks, a row of the scan's units after the other, and hands each row with its number to `finish`.
fn read_scan(
    header: &Header,
    mut bytes: &[u8],
    data: &mut Vec<u8>,
    planes: &mut [Channel],
    mut finish: impl FnMut(&mut [Channel], usize),
) -> Option<()> {
    let [rows, columns] = header.units();
    let interval = if header.restart_interval == 0 { usize::MAX } else { header.restart_interval };
    let (mut left, mut restarts) = (interval, 0);
    let mut marker = unstuff(&mut bytes, data)?;
    let mut bits = Bits::new(data);
    for row in 0..rows {
        for plane in planes.iter_mut() {
            plane.blocks.clear();
            plane.blocks.resize(plane.length * plane.component.sampling[0], [0; 64]);
        }
        for column in 0..columns {
            if left == 0 {
                if marker != RESTART + restarts % 8 || !bits.is_at_end() {
                    return None;
                }
                marker = unstuff(&mut bytes, data)?;
                bits = Bits::new(data);
                planes.iter_mut().for_each(|plane| plane.before = 0);
                (left, restarts) = (interval, (restarts + 1) % 8);
            }
            left -= 1;
            for plane in planes.iter_mut() {
                let [down, across] = plane.component.sampling;
                let [first, rest] = plane.component.codes;
                let (first, rest) = (&header.codes[0][first], &header.codes[1][rest]);
                for line in 0..down {
                    let start = line * plane.length + column * across;
                    for block in &mut plane.blocks[start..start + across] {
                        bits.read_block(first, rest, &mut plane.before, block)?;
                    }
                }
            }
        }
        finish(planes, row);
    }
    (marker == END && bits.is_at_end()).then_some(())
}

/// The data up to the next marker, which it returns, without the zeros that follow every 0xff; `bytes` begin behind it.
fn unstuff(bytes: &mut &[u8], data: &mut Vec<u8>) -> Option<u8> {
    data.clear();
    loop {
        let found = memchr::memchr(0xff, bytes)?;
        let marker = *bytes.get(found + 1)?;
        data.extend_from_slice(&bytes[..found + usize::from(marker == 0)]);
        *bytes = &bytes[found + 2..];
        if marker != 0 {
            data.extend_from_slice(&[0; entropy::PADDING]);
            return Some(marker);
        }
    }
}

impl Channel<'_> {
    /// Adds its blocks to the sums; `row` is that of the scan's units.
    fn reduce(&mut self, row: usize, rows: &mut Vec<f32>) {
        let Geometry { down, across, .. } = self.geometry;
        let lines = self.component.sampling[0];
        for (line, blocks) in self.blocks.chunks_exact(self.length).enumerate() {
            let (first, weights) = down.part(row * lines + line);
            if !weights.is_empty() {
                rows.clear();
                rows.resize(8 * across.width, 0.0);
                let blocks = &blocks[across.blocks.clone()];
                reduce_across(blocks, &self.component.steps, &across.starts, &across.weights, across.width, rows);
                let sums = &mut self.sums[first * across.width..][..weights.len() * across.width];
                reduce_down(rows, weights, across.width, sums);
            }
        }
    }
}

fn to_pixels(planes: &[Channel], [down, across]: &[Seen; 2]) -> Image {
    let [height, width] = [down.outputs, across.outputs];
    let channels = planes.len();
    let mut pixels = vec![0; height * width * channels];
    for (row, pixels) in pixels.chunks_exact_mut(width * channels).enumerate() {
        let sums = |plane: usize| {
            let Channel { sums, geometry, .. } = &planes[plane];
            &sums[row * geometry.across.width..][..width]
        };
        match channels {
            1 => luma_to_grey(sums(0), pixels),
            _ => luma_and_chroma_to_rgb(sums(0), sums(1), sums(2), pixels),
        }
    }
    Image { shape: ImageShape { height, width, channels }, pixels }
}

/// The stored picture upright.
fn turn(image: Image, orientation: Orientation) -> Option<Image> {
    if orientation == Orientation::NoTransforms {
        return Some(image);
    }
    let channels = image.shape.channels;
    let [height, width] = [image.shape.height as u32, image.shape.width as u32];
    let mut turned = match channels {
        1 => DynamicImage::from(GrayImage::from_raw(width, height, image.pixels)?),
        _ => DynamicImage::from(RgbImage::from_raw(width, height, image.pixels)?),
    };
    turned.apply_orientation(orientation);
    let [height, width] = [turned.height() as usize, turned.width() as usize];
    Some(Image { shape: ImageShape { height, width, channels }, pixels: turned.into_bytes() })
}

#[cfg(test)]
mod tests;
