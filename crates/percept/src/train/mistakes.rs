//! The surest wrong answers of a finished network, for the report.

use super::{
    finish::{Reading, SHOWN},
    session::Session,
};
use crate::{
    explain::{Explanation, overlay},
    image::Image,
    ops::{Explainer, largest, probabilities},
    report::Shown,
};

/// A wrong answer: how sure it was, the image, the class that is to be explained, and what is to be said.
struct Wrong {
    sure: f32,
    image: u32,
    class: usize,
    caption: String,
}

/// The surest wrong answers on some images, and what spoke for them.
pub(super) fn mistakes(session: &Session, images: &[u32], logits: &[f32], reading: &Reading) -> Vec<Shown> {
    let dataset = session.dataset;
    let classes = dataset.classes.len();
    let mut rows = logits.to_vec();
    probabilities(&mut rows, classes, reading.temperature, reading.thresholds.is_none());
    let rows = images.iter().zip(rows.chunks_exact(classes));
    let mut wrong: Vec<Wrong> = match reading.thresholds {
        None => rows.filter_map(|(&image, row)| taken_for_another(session, image, row)).collect(),
        Some(thresholds) => rows.filter_map(|(&image, row)| wrong_set(session, image, row, thresholds)).collect(),
    };
    wrong.sort_by(|a, b| b.sure.total_cmp(&a.sure).then(a.image.cmp(&b.image)));
    wrong.truncate(SHOWN);
    let mut explainer = Explainer::new(session.network.graph().clone(), session.network.parameters.clone());
    let shown = |Wrong { image: place, class, caption, .. }: Wrong| {
        let image = Image { shape: dataset.shape, pixels: dataset.image(place as usize).to_vec() };
        let explanation = Explanation::new(&mut explainer, &image, Some(class));
        let whole = [0.0, 0.0, dataset.shape.width as f64, dataset.shape.height as f64];
        let overlay = Some(overlay(&image, whole, &explanation));
        Shown { overlay, image, caption, name: dataset.names[place as usize].clone() }
    };
    wrong.into_iter().map(shown).collect()
}

fn taken_for_another(session: &Session, image: u32, row: &[f32]) -> Option<Wrong> {
    let (class, label) = (largest(row), session.dataset.labels[image as usize] as usize);
    let names = &session.dataset.classes;
    let caption = format!("{}, taken for {} ({:.0}\u{a0}%)", names[label], names[class], 100.0 * row[class]);
    (class != label).then(|| Wrong { sure: row[class], image, class, caption })
}

/// The class of an image that is wrong with the highest confidence: one that is there and was missed, or the other way
/// around.
fn wrong_set(session: &Session, image: u32, row: &[f32], thresholds: &[f32]) -> Option<Wrong> {
    let dataset = session.dataset;
    let (sets, label) = (dataset.sets.as_ref()?, dataset.labels[image as usize]);
    let there = |class: usize| sets.classes_of(label).contains(&(class as u32));
    let answers = row.iter().zip(thresholds).enumerate();
    let wrong = answers.filter_map(|(class, (&probability, &threshold))| {
        let sure = if there(class) { 1.0 - probability } else { probability };
        ((probability >= threshold) != there(class)).then_some((sure, class))
    });
    let (sure, class) = wrong.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
    let (name, shows) = (&dataset.classes[class], sets.describe(label, &dataset.classes));
    let percent = format!("{:.0}\u{a0}%", 100.0 * row[class]);
    let caption = match there(class) {
        true => format!("shows {shows}: {name} was missed ({percent})"),
        false => format!("shows {shows}: {name} was seen in it ({percent})"),
    };
    Some(Wrong { sure, image, class, caption })
}
