//! Decides what each image may be used for. What was measured never chose anything: a split that came with the
//! data is the test, and validation is a part of train, chosen by content and not by chance.

use super::{DatasetConfig, LabelSets, Split, labels::count_classes, reading::ContentHash, source::and_more};
use crate::{Error, Result};

/// Which images belong to which split, as indices, and how that came about.
#[derive(Debug, Default)]
pub(super) struct Splits {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
    pub test: Vec<u32>,
    /// One sentence for people.
    pub note: String,
    /// Sentences that a user should see.
    pub warnings: Vec<String>,
}

/// What a split that came with the data is used as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Train, validation and test all came with the data.
    AsNamed,
    /// Test came, or validation alone, which then is the test.
    MeasureOn(Split),
    /// Nothing came but training images.
    HashAll,
    /// Everything is a test image.
    Measure,
}

/// Assigns every image to a split.
pub(super) fn assign(given: &[Option<Split>], contents: &[ContentHash], config: &DatasetConfig) -> Result<Splits> {
    check_fraction("validation", config.validation, config.validation < 1.0, "at least 0 and below 1")?;
    check_fraction("test", config.test, config.test <= 1.0, "between 0 and 1")?;
    let plan = Plan::new(given, config);
    let mut splits = Splits::default();
    for (index, (&given, &content)) in (0..).zip(given.iter().zip(contents)) {
        match plan.place(given, content, config) {
            Some(Split::Train) => splits.train.push(index),
            Some(Split::Validation) => splits.validation.push(index),
            Some(Split::Test) => splits.test.push(index),
            None => {}
        }
    }
    if plan == Plan::AsNamed && config.validation == 0.0 {
        splits.warnings.push("the validation images that came with the data are not used: validation is 0".to_owned());
    }
    splits.note = plan.describe(&splits, config);
    Ok(splits)
}

fn check_fraction(name: &str, value: f64, below_limit: bool, range: &str) -> Result<()> {
    if value >= 0.0 && below_limit {
        return Ok(());
    }
    let hint = format!("give a fraction {range}: 0.1 holds out every tenth image");
    Err(Error::invalid(format!("{name} must be {range}, not {value}"), hint))
}

impl Plan {
    fn new(given: &[Option<Split>], config: &DatasetConfig) -> Self {
        let came = |split| given.contains(&Some(split));
        match (came(Split::Validation), came(Split::Test)) {
            (false, false) if config.measures_only() => Self::Measure,
            (false, false) => Self::HashAll,
            (true, true) => Self::AsNamed,
            (true, false) => Self::MeasureOn(Split::Validation),
            (false, true) => Self::MeasureOn(Split::Test),
        }
    }

    /// The split of one image; none where it is used for nothing.
    fn place(self, given: Option<Split>, content: ContentHash, config: &DatasetConfig) -> Option<Split> {
        let given = given.unwrap_or(Split::Train);
        let carve = || if falls_into_validation(content, config.validation) { Split::Validation } else { Split::Train };
        match self {
            Self::AsNamed => (given != Split::Validation || config.validation > 0.0).then_some(given),
            Self::MeasureOn(split) => Some(if given == split { Split::Test } else { carve() }),
            Self::HashAll if falls_into_test(content, config.test) => Some(Split::Test),
            Self::HashAll => Some(carve()),
            Self::Measure => Some(Split::Test),
        }
    }

    fn describe(self, splits: &Splits, config: &DatasetConfig) -> String {
        let (train, validation, test) = (splits.train.len(), splits.validation.len(), splits.test.len());
        let carved = match validation {
            _ if config.validation == 0.0 => "no validation: every training image trains".to_owned(),
            0 => "no validation image".to_owned(),
            n => format!(
                "validation: {n} of the {} training images, by content hash ({})",
                train + n,
                percent(config.validation)
            ),
        };
        match self {
            Self::AsNamed if config.validation == 0.0 => {
                format!("train and test as they came with the data ({train} and {test} images); no validation")
            }
            Self::AsNamed => format!(
                "train, validation and test as they came with the data ({train}, {validation} and {test} images)"
            ),
            Self::MeasureOn(Split::Validation) => {
                format!("test: the {test} images that came as validation, measured once and choosing nothing; {carved}")
            }
            Self::MeasureOn(_) => format!("test: the {test} images that came as test; {carved}"),
            Self::HashAll if config.test == 0.0 => format!("no test; {carved}"),
            Self::HashAll => {
                format!(
                    "test: {test} of all {} images, by content hash ({}); {carved}",
                    train + validation + test,
                    percent(config.test)
                )
            }
            Self::Measure => format!("test: all {test} images"),
        }
    }
}

/// A fraction as a percentage, without digits that say nothing.
fn percent(fraction: f64) -> String {
    format!("{} %", (fraction * 1e4).round() / 100.0)
}

/// Test and validation read different halves of the hash, so that neither choice depends on the other. An image's
/// place depends on its content alone: adding images moves none, and copies stay together.
fn falls_into_test(content: ContentHash, fraction: f64) -> bool {
    below((content >> 64) as u64, fraction)
}

fn falls_into_validation(content: ContentHash, fraction: f64) -> bool {
    below(content as u64, fraction)
}

fn below(bits: u64, fraction: f64) -> bool {
    (bits as f64) / 2f64.powi(64) < fraction
}

/// Names the classes that a split leaves without images, and refuses those that it leaves untaught. Labels are places in
/// `sets`, where there are such: among sets that many images share, a rare class that is untaught is but said.
pub(super) fn check_classes(
    splits: &mut Splits,
    labels: &[u32],
    sets: Option<&LabelSets>,
    classes: &[String],
    config: &DatasetConfig,
) -> Result<()> {
    if config.measures_only() {
        return Ok(());
    }
    let count = |indices: &[u32]| count_classes(indices, labels, sets, classes.len());
    let (train, validation, test) = (count(&splits.train), count(&splits.validation), count(&splits.test));
    let all: Vec<usize> = (0..classes.len()).map(|i| train[i] + validation[i] + test[i]).collect();
    let lacking = |counts: &[usize]| -> Vec<&str> {
        (0..classes.len()).filter(|&i| counts[i] == 0 && all[i] > 0).map(|i| classes[i].as_str()).collect()
    };
    if let (Some(_), Some(_)) = (sets, lacking(&train).first()) {
        splits.warnings.push(format!("{} no training image, and cannot be learned", name_some(&lacking(&train))));
    } else if let Some(first) = lacking(&train).first() {
        return Err(Error::invalid(
            format!(
                "no training image is left of class \"{first}\"{}: all went to validation or test",
                and_more(lacking(&train).len()),
            ),
            "add images of it (a dozen at least), or take the class out",
        ));
    }
    for (split, counts, held_out) in
        [(Split::Validation, &validation, !splits.validation.is_empty()), (Split::Test, &test, !splits.test.is_empty())]
    {
        let lacking = lacking(counts);
        if !held_out && should_hold_out(split, config) {
            splits.warnings.push(format!("no image is left for {split}: add images, or hold out a larger part"));
        } else if held_out && !lacking.is_empty() {
            splits.warnings.push(format!(
                "{} no {split} image, so {split} figures say nothing of {}: add images of {}",
                name_some(&lacking),
                if lacking.len() == 1 { "it" } else { "them" },
                if lacking.len() == 1 { "it" } else { "them" },
            ));
        }
    }
    Ok(())
}

fn should_hold_out(split: Split, config: &DatasetConfig) -> bool {
    match split {
        Split::Train => true,
        Split::Validation => config.validation > 0.0,
        Split::Test => config.test > 0.0,
    }
}

fn name_some(classes: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = classes.iter().take(SHOWN).map(|class| format!("\"{class}\"")).collect::<Vec<_>>().join(", ");
    match classes.len() {
        1 => format!("class {shown} has"),
        n if n <= SHOWN => format!("classes {shown} have"),
        n => format!("classes {shown} and {} more have", n - SHOWN),
    }
}
