//! The handwritten digits inside the program: see `assets/README.md` for their origin and licence.

use std::io::Read;

use flate2::read::GzDecoder;

use super::{catalogue::Entry, source_of};
use crate::{
    Error, Result,
    data::{Picture, Sample, Source},
    image::{Image, ImageShape},
};

/// Pictures in the asset.
pub(super) const COUNT: usize = 1_797;
const SIDE: usize = 8;
/// A record: the label, then the values.
const RECORD: usize = 1 + SIDE * SIDE;
const ASSET: &[u8] = include_bytes!("../../../assets/digits.gz");

/// Opens the digits. Their values, 0 (paper) to 16 (ink), are scaled to 0..255: `value * 255 / 16`, rounded. They
/// come without a split.
pub(super) fn open(entry: &'static Entry) -> Source {
    let samples = Box::new(|| {
        let records = unpack()?;
        let read = (0..COUNT).map(move |number| Ok(sample(number, &records[number * RECORD..][..RECORD])));
        Ok(Box::new(read) as Box<dyn Iterator<Item = _> + Send>)
    });
    // The content is part of the program; the name and the version of its scaling identify it.
    source_of(entry, "the data built into Percept".into(), "digits-1".into(), samples)
}

fn unpack() -> Result<Vec<u8>> {
    let mut records = Vec::with_capacity(COUNT * RECORD);
    let read = GzDecoder::new(ASSET).read_to_end(&mut records);
    if read.is_ok_and(|length| length == COUNT * RECORD) {
        Ok(records)
    } else {
        Err(Error::damaged("digits.gz", "the copy inside this program does not unpack", "install Percept again"))
    }
}

fn sample(number: usize, record: &[u8]) -> Sample {
    let pixels = record[1..].iter().map(|&value| ((u32::from(value) * 255 + 8) / 16).min(255) as u8).collect();
    let shape = ImageShape { height: SIDE, width: SIDE, channels: 1 };
    Sample {
        name: format!("digits#{number}"),
        label: record[0].into(),
        split: None,
        picture: Picture::Pixels(Image { shape, pixels }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_there() {
        let entry = super::super::find("digits").unwrap();
        let source = open(entry);
        assert_eq!((source.name.as_str(), source.classes.len(), source.channels), ("digits", 10, 1));
        assert!(!source.mirrors);
        let samples: Vec<Sample> = (source.samples)().unwrap().map(|sample| sample.unwrap()).collect();
        assert_eq!(samples.len(), 1797);
        // The published counts by class.
        let count = |label| samples.iter().filter(|sample| sample.label == label).count();
        assert_eq!((0..10).map(count).collect::<Vec<_>>(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let Picture::Pixels(first) = &samples[0].picture else { panic!("not pixels") };
        // The first row of the published file, 0 0 5 13 9 1 0 0, scaled.
        assert_eq!(first.pixels[..8], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!((samples[0].name.as_str(), samples[0].label, samples[0].split), ("digits#0", 0, None));
        assert_eq!(first.pixels.iter().max(), Some(&239));
    }
}
