//! What stands before a JPEG's pixels (ITU-T T.81, annex B). It takes the plain kind alone: one scan of 8-bit samples
//! in Huffman's code, grey or YCbCr. `None` stands for everything else, damage included: another decoder says what it is.

use image::metadata::Orientation;

use super::{
    entropy::{Coefficient, HuffmanTable},
    swaps_sides,
};

/// The order in which a file has the frequencies of a block, as places in `[vertical, horizontal]`.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// All that a scan's data needs to become frequencies, and where it begins.
pub(super) struct Header {
    /// As stored, before it is turned.
    pub(super) height: usize,
    pub(super) width: usize,
    /// 1 or 3: luma, and the chroma of blue and of red.
    pub(super) components: Vec<Component>,
    /// The most blocks that a component has in a unit of the scan: vertical, horizontal.
    pub(super) sampling: [usize; 2],
    /// Units between two restarts of the code; 0 where there is none.
    pub(super) restart_interval: usize,
    pub(super) orientation: Orientation,
    /// Codes of first frequencies, and of the others.
    pub(super) codes: [Vec<HuffmanTable>; 2],
    /// The first byte of the scan's data.
    pub(super) data: usize,
}

pub(super) struct Component {
    /// Blocks in a unit of the scan: vertical, horizontal.
    pub(super) sampling: [usize; 2],
    /// Quantisation steps, `[vertical, horizontal]`.
    pub(super) steps: [f32; 64],
    /// Which of the header's codes its first frequencies have, and which the others.
    pub(super) codes: [usize; 2],
}

/// The lengths and symbols of a code, as the file has them.
struct Code<'a> {
    lengths: &'a [u8; 16],
    symbols: &'a [u8],
}

#[derive(Default)]
struct Tables<'a> {
    steps: [Option<[f32; 64]>; 4],
    /// Of first frequencies, and of the others.
    codes: [[Option<Code<'a>>; 4]; 2],
}

struct Frame {
    height: usize,
    width: usize,
    /// Identity, sampling, number of the quantisation table.
    components: Vec<(u8, [usize; 2], usize)>,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut tables = Tables::default();
        let (mut frame, mut orientation, mut restart_interval) = (None, Orientation::NoTransforms, 0);
        let mut at = 2;
        loop {
            let &[0xff, marker, high, low] = bytes.get(at..)?.first_chunk()? else { return None };
            let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
            let segment = bytes.get(at + 4..end)?;
            match marker {
                0xc0 | 0xc1 if frame.is_none() => frame = Some(Frame::read(segment)?),
                0xc4 => tables.read_codes(segment)?,
                0xda => {
                    let Frame { height, width, components } = frame?;
                    let components = tables.read_scan(segment, &components)?;
                    let most = |axis: usize| components.iter().map(|component| component.sampling[axis]).max();
                    let codes = [tables.build_codes(Coefficient::First)?, tables.build_codes(Coefficient::Other)?];
                    let (sampling, data) = ([most(0)?, most(1)?], end);
                    return Some(Self {
                        height,
                        width,
                        components,
                        sampling,
                        restart_interval,
                        orientation,
                        codes,
                        data,
                    });
                }
                0xdb => tables.read_steps(segment)?,
                0xdd => restart_interval = usize::from(u16::from_be_bytes(*segment.as_array()?)),
                0xe1 => {
                    if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                        orientation = Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
                    }
                }
                // Adobe's segment may say that the colours are no YCbCr.
                0xee if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => return None,
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
            at = end;
        }
    }

    /// Units of the scan, down and across.
    pub(super) fn units(&self) -> [usize; 2] {
        [self.height.div_ceil(8 * self.sampling[0]), self.width.div_ceil(8 * self.sampling[1])]
    }

    /// Height and width of the picture when it is upright.
    pub(super) fn upright(&self) -> [usize; 2] {
        if swaps_sides(self.orientation) { [self.width, self.height] } else { [self.height, self.width] }
    }
}

impl Frame {
    fn read(segment: &[u8]) -> Option<Self> {
        let (&[8, high, low, higher, lower, count], listed) = segment.split_first_chunk()? else { return None };
        let [height, width] = [[high, low], [higher, lower]].map(|side| usize::from(u16::from_be_bytes(side)));
        let (listed, []) = listed.as_chunks::<3>() else { return None };
        if height == 0 || width == 0 || listed.len() != usize::from(count) || ![1, 3].contains(&count) {
            return None;
        }
        let mut components: Vec<_> = listed
            .iter()
            .map(|&[id, sampling, table]| (id, [sampling & 15, sampling >> 4].map(usize::from), usize::from(table)))
            .collect();
        if let [(_, sampling, _)] = components.as_mut_slice() {
            *sampling = [1, 1]; // alone, a component has its blocks one by one
        }
        let most = [0, 1].map(|axis| components.iter().map(|component| component.1[axis]).max().unwrap_or(1));
        // As fine as the finest, or half: others are rare.
        let odd = |&(_, sampling, _): &(u8, [usize; 2], usize)| {
            [0, 1].iter().any(|&axis| {
                !(1..=4).contains(&sampling[axis]) || ![sampling[axis], 2 * sampling[axis]].contains(&most[axis])
            })
        };
        let blocks: usize = components.iter().map(|component| component.1[0] * component.1[1]).sum();
        let is_rgb = components.iter().map(|component| component.0).eq(*b"RGB");
        (blocks <= 10 && !is_rgb && !components.iter().any(odd)).then_some(Self { height, width, components })
    }
}

impl<'a> Tables<'a> {
    fn read_steps(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let bytes = if kind >> 4 == 0 { 1 } else { 2 };
            let (values, rest) = rest.split_at_checked(64 * bytes)?;
            let mut steps = [0.0; 64];
            for (&place, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes)) {
                let value = value.iter().fold(0, |value, &byte| value << 8 | u16::from(byte));
                steps[usize::from(place)] = f32::from(value);
            }
            *self.steps.get_mut(usize::from(kind & 15))? = Some(steps);
            segment = rest;
        }
        Some(())
    }

    fn read_codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&kind, rest)) = segment.split_first() {
            let (lengths, rest) = rest.split_first_chunk::<16>()?;
            let (symbols, rest) = rest.split_at_checked(lengths.iter().map(|&count| usize::from(count)).sum())?;
            let codes = self.codes.get_mut(usize::from(kind >> 4))?;
            *codes.get_mut(usize::from(kind & 15))? = Some(Code { lengths, symbols });
            segment = rest;
        }
        Some(())
    }

    /// The frame's components, all in one scan and in their order.
    fn read_scan(&self, segment: &[u8], frame: &[(u8, [usize; 2], usize)]) -> Option<Vec<Component>> {
        let (&count, segment) = segment.split_first()?;
        let (chosen, &[0, 63, 0]) = segment.split_last_chunk()? else { return None };
        let (chosen, []) = chosen.as_chunks::<2>() else { return None };
        if usize::from(count) != frame.len() || chosen.len() != frame.len() {
            return None;
        }
        let component = |(&[id, codes], &(expected, sampling, table)): (&[u8; 2], &(u8, [usize; 2], usize))| {
            let steps = (*self.steps.get(table)?)?;
            let codes = [codes >> 4, codes & 15].map(usize::from);
            let known = |kind: usize| self.codes[kind].get(codes[kind]).is_some_and(Option::is_some);
            (id == expected && known(0) && known(1)).then_some(Component { sampling, steps, codes })
        };
        chosen.iter().zip(frame).map(component).collect()
    }

    /// The codes of one kind; empty in place of those that the file does not have.
    fn build_codes(&self, kind: Coefficient) -> Option<Vec<HuffmanTable>> {
        let build = |code: &Option<Code>| match code {
            Some(code) => HuffmanTable::new(code.lengths, code.symbols, kind),
            None => HuffmanTable::new(&[0; 16], &[], kind),
        };
        self.codes[kind as usize].iter().map(build).collect()
    }
}
