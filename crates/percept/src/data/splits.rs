//! Who may use which image. A split by chance goes by each image's content, so that adding images moves none, and
//! copies stay together.

use super::Split;
use crate::{Error, Result};

/// Indices of each split, and how they came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Splits {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
    pub test: Vec<u32>,
    pub note: String,
    /// Sentences that a user should see.
    pub warnings: Vec<String>,
}

/// Different for each question, so that validation and test are drawn apart.
const TEST_SALT: u64 = 0x7465_7374;
const VALIDATION_SALT: u64 = 0x7661_6c69_6461;

/// Splits images by what came with them and by their content's hash.
///
/// # Errors
/// A class without training images, or no training images at all.
pub(super) fn split(
    given: &[Option<Split>],
    hashes: &[u64],
    labels: &[u32],
    classes: &[String],
    [validation, test]: [f64; 2],
) -> Result<Splits> {
    let has = |split| given.contains(&Some(split));
    let (has_validation, has_test) = (has(Split::Validation), has(Split::Test));
    let all_three = has_validation && has_test;
    let has_given = has_validation || has_test;
    let mut splits = Splits::default();
    for (index, &given) in given.iter().enumerate() {
        let hash = hashes[index];
        let split = match given {
            Some(Split::Test) => Split::Test,
            // "val" beside train alone is only measured: what is reported must have chosen nothing.
            Some(Split::Validation) if !all_three => Split::Test,
            Some(Split::Validation) => Split::Validation,
            _ if !has_given && share(hash, TEST_SALT) < test => Split::Test,
            _ if !all_three && share(hash, VALIDATION_SALT) < validation => Split::Validation,
            _ => Split::Train,
        };
        match split {
            Split::Train => splits.train.push(index as u32),
            Split::Validation => splits.validation.push(index as u32),
            Split::Test => splits.test.push(index as u32),
        }
    }
    splits.note = note(&splits, has_given, all_three, has_validation, [validation, test]);
    if all_three && validation == 0.0 {
        splits.validation.clear();
        splits.warnings.push("--validation 0: the data's validation images are not used for anything".into());
    }
    check(&mut splits, labels, classes, [validation > 0.0, test > 0.0 || has_given])?;
    Ok(splits)
}

/// A number from 0 to 1 that the hash and the salt decide (the finalizer of SplitMix64).
fn share(hash: u64, salt: u64) -> f64 {
    let mut z = hash ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / 2f64.powi(64)
}

fn note(splits: &Splits, given: bool, all_three: bool, validation_given: bool, [validation, test]: [f64; 2]) -> String {
    let percent = |share: f64| format!("{} %", (1000.0 * share).round() / 10.0);
    let (trained, validated, tested) = (splits.train.len(), splits.validation.len(), splits.test.len());
    let chosen = match (all_three, validation > 0.0) {
        (true, _) => format!("{validated} validation images that came with the data"),
        (false, true) => {
            format!("{validated} validation images, {} of the training images by content", percent(validation))
        }
        (false, false) => "no validation images".into(),
    };
    let measured = match (given, validation_given && !all_three) {
        (true, true) => format!("{tested} test images, which the data calls validation and which are only measured"),
        (true, false) => format!("{tested} test images that came with the data"),
        (false, _) if test > 0.0 => format!("{tested} test images, {} by content", percent(test)),
        (false, _) => "no test images".into(),
    };
    format!("{trained} training images; {chosen}; {measured}")
}

/// Names the classes that a split lacks.
fn check(splits: &mut Splits, labels: &[u32], classes: &[String], [validation, test]: [bool; 2]) -> Result<()> {
    let lacking = |images: &[u32]| -> Vec<&str> {
        let mut there = vec![false; classes.len()];
        images.iter().for_each(|&index| there[labels[index as usize] as usize] = true);
        classes.iter().zip(there).filter(|(_, there)| !there).map(|(class, _)| class.as_str()).collect()
    };
    let untrained = lacking(&splits.train);
    if !untrained.is_empty() {
        return Err(Error::invalid(
            format!("no training images of {}", untrained.join(", ")),
            "add images of it, or leave the class out; `percept data inspect` shows the counts",
        ));
    }
    let mut warnings = Vec::new();
    for (wanted, images, name) in [(validation, &splits.validation, "validation"), (test, &splits.test, "test")] {
        let missing = lacking(images);
        if wanted && !missing.is_empty() {
            warnings.push(format!("no {name} images of {}: add images of it, or raise --{name}", missing.join(", ")));
        }
    }
    splits.warnings.extend(warnings);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        vec!["ant".into(), "bee".into()]
    }

    fn hashes(count: u64) -> Vec<u64> {
        (0..count).map(|i| i.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678).collect()
    }

    #[test]
    fn growing_moves_no_image_and_copies_stay_together() {
        let labels: Vec<u32> = (0..4000).map(|i| i % 2).collect();
        let mut hashes = hashes(4000);
        hashes[7] = hashes[6];
        let few = split(&[None; 2000], &hashes[..2000], &labels, &classes(), [0.1, 0.2]).expect("splits");
        let many = split(&[None; 4000], &hashes, &labels, &classes(), [0.1, 0.2]).expect("splits");
        let old = |part: &[u32]| part.iter().copied().filter(|&i| i < 2000).collect::<Vec<_>>();
        assert_eq!([few.train, few.validation, few.test], [&many.train, &many.validation, &many.test].map(|p| old(p)));
        let holder = |part: &[u32]| (part.contains(&6), part.contains(&7));
        assert!([&many.train, &many.validation, &many.test].iter().all(|p| matches!(holder(p), (a, b) if a == b)));
        assert!((700..900).contains(&many.test.len()), "{}", many.test.len());
        assert!((260..380).contains(&many.validation.len()), "{}", many.validation.len());
    }

    #[test]
    fn a_validation_folder_beside_train_alone_is_only_measured() {
        let mut given = vec![Some(Split::Train); 200];
        given.extend([Some(Split::Validation); 50]);
        let labels: Vec<u32> = (0..250).map(|i| i % 2).collect();
        let splits = split(&given, &hashes(250), &labels, &classes(), [0.1, 0.1]).expect("splits");
        assert_eq!(splits.test, (200..250).collect::<Vec<u32>>());
        assert!(!splits.validation.is_empty() && splits.validation.iter().all(|&i| i < 200));
    }

    #[test]
    fn three_given_splits_do_what_their_names_say() {
        let given: Vec<_> =
            [Split::Train, Split::Validation, Split::Test].into_iter().cycle().take(30).map(Some).collect();
        let labels: Vec<u32> = (0..30).map(|i| i / 3 % 2).collect();
        let splits = split(&given, &hashes(30), &labels, &classes(), [0.5, 0.5]).expect("splits");
        assert_eq!([splits.train.len(), splits.validation.len(), splits.test.len()], [10, 10, 10]);
        let none = split(&given, &hashes(30), &labels, &classes(), [0.0, 0.5]).expect("splits");
        assert!(none.validation.is_empty() && none.train.len() == 10);
        assert_eq!(none.warnings, ["--validation 0: the data's validation images are not used for anything"]);
    }

    #[test]
    fn a_class_without_images_in_a_split_is_named() {
        let splits = split(&[None; 3], &hashes(3), &[0, 1, 1], &classes(), [1e-9, 1e-9]).expect("splits");
        assert_eq!(splits.warnings[0], "no validation images of ant, bee: add images of it, or raise --validation");
        let given = [Some(Split::Train), Some(Split::Test)];
        let error = split(&given, &hashes(2), &[0, 1], &classes(), [0.0, 0.1]).expect_err("no training images of bee");
        assert_eq!(error.to_string(), "no training images of bee");
    }
}
