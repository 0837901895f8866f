//! What is known of a model beside its answers: figures and sample pictures that its run's folder holds, and how the
//! things on its pictures stand. Reads two files of that folder, and nothing else.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use percept::{
    evaluate::Scores,
    image::{Image, decode},
    weights::ModelCard,
};
use serde::Deserialize;

use crate::{
    ModelView,
    shown::{address, reduced},
};

/// Sample pictures on a page.
const SAMPLES: usize = 12;
/// Longest side of a sample on the page, in pixels: sharp at the size that it is shown at.
const SAMPLE_SIDE: usize = 96;
/// Small grey pictures, which can be drawn.
const DRAWN_SIDE: usize = 32;
/// A picture has ink where it differs by more than this from its edge.
const INK: u8 = 80;

/// What a run's folder tells.
#[derive(Default)]
pub struct Known {
    /// Figures of the split that was measured.
    pub measured: Option<Measured>,
    /// Training pictures, one a class before a second of any.
    pub samples: Vec<Sample>,
    /// When the run ended.
    pub ended: Option<SystemTime>,
    /// Whose figures these are.
    identity: Identity,
}

/// What `metrics.json` and a model's card both say, so that one can be known as the other's.
#[derive(Default, PartialEq, Deserialize)]
struct Identity {
    model: String,
    data: String,
    /// Files of earlier versions do not say it.
    fingerprint: Option<String>,
    temperature: f32,
    validation: Option<Scores>,
    test: Option<Scores>,
}

impl Identity {
    fn is_of(&self, card: &ModelCard) -> bool {
        let ModelCard { model, data, fingerprint, temperature, validation, test, .. } = card;
        self.fingerprint.as_ref().is_none_or(|own| own == fingerprint)
            && (&self.model, &self.data, self.temperature) == (model, data, *temperature)
            && (&self.validation, &self.test) == (validation, test)
    }
}

/// The part of `metrics.json` that the page shows.
#[derive(Clone, Deserialize)]
pub struct Measured {
    /// By label.
    pub classes: Vec<ClassFigures>,
    /// `[true class][predicted class]`; empty where classes do not exclude each other.
    #[serde(default)]
    pub confusion: Vec<Vec<usize>>,
}

/// One class's figures.
#[derive(Clone, Copy, Deserialize)]
pub struct ClassFigures {
    /// Of the answers that name it, the share that is right.
    pub precision: f64,
    /// Of its pictures, the share that was found.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Its pictures.
    pub support: usize,
}

/// A training picture.
pub struct Sample {
    /// Its class.
    pub class: String,
    /// A `data:` address.
    pub address: String,
    /// Whether its pixels are to be seen.
    pub small: bool,
    image: Image,
}

/// How things stand on the pictures of a model that takes drawings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Bright strokes on a dark ground, or the other way round.
    pub light_on_dark: bool,
    /// Share of the picture's longer side that a thing fills.
    pub extent: f64,
    /// Side of the network's input, in pixels.
    pub side: usize,
}

/// The accuracy that a model file states.
pub struct Accuracy<'m> {
    /// Whether it was measured on test images.
    pub test: bool,
    /// Its figures.
    pub scores: &'m Scores,
}

/// The accuracy on test, or else on validation.
pub fn accuracy(model: &ModelView) -> Option<Accuracy<'_>> {
    let card = model.card();
    let test = card.test.as_ref().filter(|scores| scores.images > 0);
    let scores = test.or(card.validation.as_ref()).filter(|scores| scores.images > 0)?;
    Some(Accuracy { test: test.is_some(), scores })
}

/// What the folder of a model's run tells; read once for each run that ends there. Nothing where the folder's model was
/// replaced by another's: figures and pictures are those of the one that was trained there.
pub async fn of(model: &ModelView) -> Arc<Known> {
    let Some(folder) = model.run_folder().map(Path::to_path_buf) else { return Arc::default() };
    let known = tokio::task::spawn_blocking(move || kept(&folder)).await.unwrap_or_default();
    if known.identity.is_of(model.card()) { known } else { Arc::default() }
}

fn kept(folder: &Path) -> Arc<Known> {
    type Kept = HashMap<PathBuf, (Option<SystemTime>, Arc<Known>)>;
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    let ended = fs::metadata(folder.join("metrics.json")).and_then(|file| file.modified()).ok();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.get(folder) {
        Some((then, known)) if *then == ended => known.clone(),
        _ => {
            let known = Arc::new(read(folder, ended));
            kept.insert(folder.to_path_buf(), (ended, known.clone()));
            known
        }
    }
}

fn read(folder: &Path, ended: Option<SystemTime>) -> Known {
    #[derive(Deserialize)]
    struct Metrics {
        #[serde(flatten)]
        identity: Identity,
        measured: Option<Measured>,
    }
    let text = fs::read(folder.join("metrics.json")).unwrap_or_default();
    let Ok(Metrics { identity, measured }) = serde_json::from_slice(&text) else { return Known::default() };
    let is_whole = |measured: &Measured| {
        let classes = measured.classes.len();
        measured.confusion.is_empty()
            || measured.confusion.len() == classes && measured.confusion.iter().all(|row| row.len() == classes)
    };
    let drawing = fs::read_to_string(folder.join("batch.svg")).unwrap_or_default();
    Known { measured: measured.filter(is_whole), samples: samples(&drawing), ended, identity }
}

/// The pictures of a report's drawing: each is an `image` element with a PNG and the class as its title.
fn samples(drawing: &str) -> Vec<Sample> {
    let mut found: Vec<(usize, Sample)> = Vec::new();
    for element in drawing.split("<image ").skip(1) {
        let between = |from: &str, to: &str| Some(element.split_once(from)?.1.split_once(to)?.0);
        let (Some(png), Some(title)) = (between("base64,", "\""), between("<title>", "</title>")) else { continue };
        let class = plain(title);
        let Some(image) = BASE64_STANDARD.decode(png).ok().and_then(|bytes| decode(&bytes, 3).ok()) else { continue };
        let earlier = found.iter().filter(|(_, sample)| sample.class == class).count();
        let small = image.shape.height.max(image.shape.width) <= SAMPLE_SIDE;
        let image = if small { image } else { reduced(&image, SAMPLE_SIDE) };
        found.push((earlier, Sample { class, address: address(&image), small, image }));
    }
    // Each class once, then each a second time.
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.class.cmp(&b.1.class)));
    found.into_iter().take(SAMPLES).map(|(_, sample)| sample).collect()
}

/// A text of a drawing, as it was before it was escaped.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// How to draw for a model, if its pictures can be drawn: small and grey. `brightness` is the mean of its training
/// pictures, from 0 to 255, where it is known.
pub fn drawn(model: &ModelView, known: &Known, brightness: Option<f32>) -> Option<Drawn> {
    let input = model.card().architecture.input;
    let side = input.height.max(input.width);
    (input.channels == 1 && side <= DRAWN_SIDE).then(|| Drawn { side, ..strokes(&known.samples, brightness) })
}

/// Reads from the samples how things stand on them.
fn strokes(samples: &[Sample], brightness: Option<f32>) -> Drawn {
    let mut extents = Vec::new();
    let mut bright_edges = 0;
    for sample in samples {
        let (height, width) = (sample.image.shape.height, sample.image.shape.width);
        let at = |row: usize, column: usize| sample.image.pixels[3 * (row * width + column)];
        // The corners: of small digits, strokes reach the edges.
        let corners = [at(0, 0), at(0, width - 1), at(height - 1, 0), at(height - 1, width - 1)];
        let ground = (corners.iter().map(|&corner| usize::from(corner)).sum::<usize>() / 4) as u8;
        bright_edges += usize::from(ground > 127);
        let inked: Vec<[usize; 2]> = (0..height)
            .flat_map(|row| (0..width).map(move |column| [row, column]))
            .filter(|&[row, column]| at(row, column).abs_diff(ground) > INK)
            .collect();
        let reach = |axis: usize| {
            let places = inked.iter().map(|place| place[axis]);
            places.clone().max().zip(places.min()).map_or(0, |(last, first)| last - first + 1)
        };
        let longest = (reach(0) as f64 / height as f64).max(reach(1) as f64 / width as f64);
        if longest > 0.0 {
            extents.push(longest);
        }
    }
    extents.sort_by(f64::total_cmp);
    let light_on_dark = match (samples.is_empty(), brightness) {
        (true, Some(brightness)) => brightness < 127.5,
        (true, None) => true,
        (false, _) => 2 * bright_edges < samples.len(),
    };
    Drawn { light_on_dark, extent: extents.get(extents.len() / 2).copied().unwrap_or(0.75), side: 0 }
}

#[cfg(test)]
mod tests {
    use percept::image::ImageShape;

    use super::*;

    fn picture(ground: u8, ink: u8) -> Image {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let pixels = (0..64).map(|place| if (2..6).contains(&(place / 8)) && place % 8 == 4 { ink } else { ground });
        Image { shape, pixels: pixels.collect() }
    }

    fn drawing(pictures: &[(&str, Image)]) -> String {
        let image = |(class, image): &(&str, Image)| {
            format!(
                "<image x=\"1\" style=\"a\" href=\"{}\"><title>{class}</title></image>\n<text>t</text>",
                address(image)
            )
        };
        format!("<svg>{}</svg>", pictures.iter().map(image).collect::<String>())
    }

    #[test]
    fn samples_show_every_class_before_one_twice() {
        let shown =
            [("b", 1), ("a &amp; &lt;b&gt;", 2), ("b", 3), ("c", 4)].map(|(class, ink)| (class, picture(0, ink)));
        let found = samples(&drawing(&shown));
        let classes: Vec<&str> = found.iter().map(|sample| sample.class.as_str()).collect();
        assert_eq!(classes, ["a & <b>", "b", "c", "b"]);
        assert!(samples("<svg><image href=\"data:image/png;base64,AAAA\"><title>x</title></svg>").is_empty());
        assert!(samples("<image <image \"<title>").is_empty());
    }

    #[test]
    fn strokes_are_drawn_as_the_training_pictures_have_them() {
        let dark = strokes(&samples(&drawing(&[("1", picture(0, 255))])), None);
        assert_eq!((dark.light_on_dark, dark.extent), (true, 0.5));
        let bright = strokes(&samples(&drawing(&[("1", picture(250, 10))])), None);
        assert!(!bright.light_on_dark);
        assert!(!strokes(&[], Some(200.0)).light_on_dark && strokes(&[], Some(30.0)).light_on_dark);
    }
}
