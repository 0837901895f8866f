//! What was not asked for is chosen by the size of the pictures and how many there are: the model, its weights, the images'
//! size, the stages of fine-tuning.

use super::{config::TrainOptions, defaults};
use crate::{
    Error, Result,
    data::{self, Source},
    model,
    weights::pretrained::Pretrained,
};

/// Images up to this side keep it where all have one size.
const NATIVE: usize = 64;
/// With fewer training images, folds of all of them judge better than the few that could be held out, and a second stage
/// could not be judged at all.
const FEW_IMAGES: usize = 500;
/// Smaller pictures are brought to this side.
const LEAST_SIDE: usize = 8;

/// What learns, and the size that images are brought to.
pub(super) struct Choice {
    pub model: String,
    pub image_size: [usize; 2],
    /// The weights that it begins with.
    pub pretrained: Option<&'static Pretrained>,
    /// The last stage of its fine-tuning.
    pub stage: u8,
    /// Share of the training images held out for validation.
    pub validation: f64,
    /// Why, for what was not asked for.
    pub notes: Vec<String>,
}

/// Takes what was asked for, and chooses the rest by the size of the pictures and how many there are, `beside` others.
pub(super) fn choose(options: &TrainOptions, source: &Source, beside: usize) -> Result<Choice> {
    let asked = options.model.as_deref().filter(|&name| name != "auto").map(model::find).transpose()?;
    let probe = data::probe(source)?;
    let median = [probe.height, probe.width];
    let mut notes = Vec::new();
    let model = match asked {
        Some(model) => model,
        None => {
            let size = options.image_size.unwrap_or(median);
            let (name, reason) = model::choose(size, probe.train, options.from_scratch);
            notes.push(format!("model {name}: {reason}"));
            model::find(name)?
        }
    };
    let keeps_size = probe.uniform && median[0].max(median[1]) <= NATIVE;
    let size = options.image_size.or(keeps_size.then_some(median));
    let pretrained = pretrained(options, model, size)?;
    let published = Pretrained::of(model.name).filter(|_| !options.from_scratch && options.extend.is_none());
    if let (Some(published), None) = (published, pretrained) {
        notes.push(format!(
            "{} begins with random numbers: up to {NATIVE} pixels it looks at pictures through another stem, for which no \
             weights are published; --image-size {} takes those that are, --from-scratch says that none are wanted",
            model.name, published.side
        ));
    }
    let image_size = options.image_size.unwrap_or_else(|| {
        if let Some(pretrained) = pretrained {
            return [pretrained.side; 2];
        }
        if keeps_size {
            return median;
        }
        let side = median[0].min(median[1]).clamp(LEAST_SIDE, model.side);
        notes.push(format!(
            "images are brought to {side}x{side} (the median is {}x{}); see --image-size",
            median[0], median[1]
        ));
        [side, side]
    });
    let is_small = probe.train.is_some_and(|images| images + beside < FEW_IMAGES);
    let stage = options.stage.filter(|&stage| stage > 0).unwrap_or(if is_small { 1 } else { 2 });
    let by_folds = pretrained.is_some() && is_small && stage == 1;
    let validation = options.validation.unwrap_or_else(|| match (pretrained.is_some(), probe.train) {
        (true, _) if by_folds => 0.0,
        (true, Some(images)) if stage == 2 => defaults::validation_of_fine_tuning(images),
        _ => defaults::VALIDATION,
    });
    Ok(Choice { model: model.name.into(), image_size, pretrained, stage, validation, notes })
}

/// The weights that a model begins with: those of a model that has no other use, or that of larger pictures.
fn pretrained(
    options: &TrainOptions,
    model: &model::Model,
    size: Option<[usize; 2]>,
) -> Result<Option<&'static Pretrained>> {
    let published = Pretrained::of(model.name);
    if options.weights.is_some() && (published.is_none() || options.from_scratch) {
        let names: Vec<&str> =
            model::MODELS.iter().map(|model| model.name).filter(|name| Pretrained::of(name).is_some()).collect();
        return Err(match options.from_scratch {
            true => Error::invalid("--weights and --from-scratch contradict each other", "leave one of them out"),
            false => Error::invalid(
                format!("no pretrained weights fit into {}", model.name),
                format!("leave --weights out, or choose --model {}", names.join(", ")),
            ),
        });
    }
    // Residual networks look at small pictures through another stem, for which there are no weights.
    let is_small = model.has_small_stem && size.is_some_and(|size| size[0].max(size[1]) <= NATIVE);
    if let (Some(published), true, Some(_), Some([height, width])) =
        (published, is_small, &options.weights, options.image_size)
    {
        return Err(Error::invalid(
            format!(
                "no weights of {} fit pictures of {height}x{width}: up to {NATIVE} pixels it has another stem",
                model.name
            ),
            format!("choose a larger --image-size, such as {}, or leave --weights out", published.side),
        ));
    }
    Ok(published.filter(|_| !options.from_scratch && (options.weights.is_some() || !is_small)))
}
