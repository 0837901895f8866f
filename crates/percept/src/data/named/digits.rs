//! The UCI handwritten digits, inside the program: 1,797 images of 8x8 (E. Alpaydin and C. Kaynak, 1998; CC BY 4.0).

use crate::{
    data::{Picture, Sample, Source},
    image::{Image, ImageShape},
};

/// Per image 64 bytes of grey, 0 to 255, and one of label; made by `assets/make_digits.py`.
const BYTES: &[u8] = include_bytes!("../../../assets/digits.bin");
const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };

pub(super) fn open() -> Source {
    Source {
        name: "digits".into(),
        location: "inside the program".into(),
        classes: super::DIGITS.iter().map(ToString::to_string).collect(),
        channels: 1,
        identity: "digits".into(),
        mirrors: false,
        samples: Box::new(|| {
            Ok(Box::new(BYTES.chunks_exact(SHAPE.len() + 1).enumerate().map(|(index, record)| {
                let (pixels, label) = record.split_at(SHAPE.len());
                Ok(Sample {
                    name: format!("digit {index}"),
                    label: u32::from(label[0]),
                    split: None,
                    picture: Picture::Pixels(Image { shape: SHAPE, pixels: pixels.to_vec() }),
                })
            })))
        }),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_digits_are_there() {
        let source = super::open();
        let mut counts = [0; 10];
        for sample in (source.samples)().expect("opens") {
            counts[sample.expect("reads").label as usize] += 1;
        }
        // The counts that the repository's documentation lists.
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }
}
