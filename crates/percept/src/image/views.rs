//! Ways to look at a picture: a network that sees it mirrored and a little moved as well is more often right, for the
//! price of running once for each look. It runs no network.

use serde::{Deserialize, Serialize};

use super::ImageShape;

/// How a picture is looked at; the logits of all looks are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// As it is.
    #[default]
    One,
    /// As it is and mirrored.
    Mirror,
    /// As it is, moved a pixel to the upper left, and to the lower right; each mirrored too. What is not moved counts
    /// as much as the two moves together (test-time augmentation of airbench, Jordan 2024).
    MirrorShift,
}

/// One look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    mirror: bool,
    /// Pixels that the picture moves to the right and down.
    shift: isize,
    /// Its share of the whole.
    pub weight: f32,
}

impl Views {
    /// The looks; their weights sum to 1.
    pub fn all(self) -> &'static [View] {
        const fn view(mirror: bool, shift: isize, weight: f32) -> View {
            View { mirror, shift, weight }
        }
        match self {
            Self::One => const { &[view(false, 0, 1.0)] },
            Self::Mirror => const { &[view(false, 0, 0.5), view(true, 0, 0.5)] },
            Self::MirrorShift => {
                const {
                    &[
                        view(false, 0, 0.25),
                        view(true, 0, 0.25),
                        view(false, -1, 0.125),
                        view(true, -1, 0.125),
                        view(false, 1, 0.125),
                        view(true, 1, 0.125),
                    ]
                }
            }
        }
    }
}

impl View {
    /// Whether it shows the picture as it is.
    pub fn is_plain(&self) -> bool {
        !self.mirror && self.shift == 0
    }

    /// Appends the pixels of `images`, whole images of `shape`, as this view shows them. At an edge that the picture
    /// moved away from, its outermost pixels are repeated.
    pub fn show(&self, shape: ImageShape, images: &[u8], shown: &mut Vec<u8>) {
        let ImageShape { height, width, channels } = shape;
        let moved = |place: usize, size: usize| (place as isize - self.shift).clamp(0, size as isize - 1) as usize;
        for image in images.chunks_exact(shape.len()) {
            for row in 0..height {
                let row = &image[moved(row, height) * width * channels..][..width * channels];
                for column in 0..width {
                    let column = moved(column, width);
                    let column = if self.mirror { width - 1 - column } else { column };
                    shown.extend_from_slice(&row[column * channels..][..channels]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_the_first_view_is_plain() {
        for views in [Views::One, Views::Mirror, Views::MirrorShift] {
            assert_eq!(views.all().iter().map(|view| view.weight).sum::<f32>(), 1.0);
            assert!(views.all()[0].is_plain());
            assert!(views.all()[1..].iter().all(|view| !view.is_plain()));
        }
    }

    #[test]
    fn pixels_move_as_whole_pixels() {
        let shape = ImageShape { height: 2, width: 3, channels: 2 };
        let image = [10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61];
        let shown = |mirror, shift| {
            let mut shown = Vec::new();
            View { mirror, shift, weight: 1.0 }.show(shape, &[image, image].concat(), &mut shown);
            assert_eq!(shown[..12], shown[12..]);
            shown.truncate(12);
            shown
        };
        assert_eq!(shown(false, 0), image);
        assert_eq!(shown(true, 0), [30, 31, 20, 21, 10, 11, 60, 61, 50, 51, 40, 41]);
        assert_eq!(shown(false, 1), [10, 11, 10, 11, 20, 21, 10, 11, 10, 11, 20, 21]);
        assert_eq!(shown(false, -1), [50, 51, 60, 61, 60, 61, 50, 51, 60, 61, 60, 61]);
    }
}
