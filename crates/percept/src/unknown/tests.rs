use super::*;

const WIDTH: usize = 24;
const CLASSES: u32 = 4;

/// Numbers without a pattern between -1 and 1.
fn noise(seed: usize) -> f32 {
    let mixed = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// Features of classes that each have a direction of their own, with noise that lies in the first half of all directions.
fn features(classes: std::ops::Range<u32>, images: usize, seed: usize) -> Part {
    let mut part = Part::default();
    for image in 0..images {
        let label = classes.start + image as u32 % (classes.end - classes.start);
        for place in 0..WIDTH {
            let own = if place == label as usize { 4.0 } else { 0.0 };
            let spread = if place < WIDTH / 2 { 1.0 } else { 0.05 };
            part.features.push(own + spread * noise(seed + image * WIDTH + place));
        }
        // The classifier is sure of its classes and of no others.
        let logit = |class| noise(seed + image * 7 + class as usize) + if class == label { 3.0 } else { 0.0 };
        part.logits.extend((0..CLASSES).map(logit));
        part.labels.push(label);
    }
    part
}

#[test]
fn about_the_stated_share_of_known_images_is_rejected_and_most_of_other_classes() {
    let (seen, held) = (features(0..CLASSES, 400, 1), features(0..CLASSES, 400, 77_777));
    let (new, foreign) = (features(0..CLASSES, 400, 999_999), features(CLASSES..CLASSES + 3, 300, 5));
    for held in [Some(held.view()), None] {
        let Fitted { known, auroc: left_out, rejected: of_held } =
            fit(seen.view(), held, Blurred::default(), 0.05).expect("enough images");
        let rejected = |part: &Part| {
            let distances = known.distances(&part.features, &part.logits);
            distances.iter().filter(|&&distance| known.is_unknown(distance)).count() as f64 / distances.len() as f64
        };
        assert!((0.02..0.09).contains(&rejected(&new)), "{} of the known", rejected(&new));
        assert!((0.049..=0.05).contains(&of_held), "{of_held} of those that drew the line");
        assert!(rejected(&foreign) > 0.8, "{} of the unknown", rejected(&foreign));
        let found =
            auroc(&known.distances(&new.features, &new.logits), &known.distances(&foreign.features, &foreign.logits));
        assert!(found > 0.95, "{found}");
        assert!(left_out > Some(0.9), "{left_out:?}");
    }
}

#[test]
fn what_varies_where_known_images_never_do_is_unknown() {
    let seen = features(0..CLASSES, 400, 1);
    let Fitted { known, .. } = fit(seen.view(), None, Blurred::default(), 0.05).expect("enough images");
    let mut strange = features(0..CLASSES, 50, 4_444);
    for row in strange.features.chunks_exact_mut(WIDTH) {
        row[WIDTH - 1] += 2.0;
    }
    let distances = known.distances(&strange.features, &strange.logits);
    assert!(distances.iter().all(|&distance| known.is_unknown(distance)), "{distances:?}");
}

/// Features like those of a class, of which the classifier makes nothing.
#[test]
fn what_speaks_for_no_class_is_unknown() {
    let seen = features(0..CLASSES, 400, 1);
    let Fitted { known, .. } = fit(seen.view(), None, Blurred::default(), 0.05).expect("enough images");
    let new = features(0..CLASSES, 100, 8_888);
    let unsure = vec![-3.0; new.logits.len()];
    let share = |logits: &[f32]| known.share_unknown(&known.distances(&new.features, logits));
    assert!(share(&new.logits) < 0.2 && share(&unsure) > 0.9, "{} {}", share(&new.logits), share(&unsure));
}

/// Longer features are those of more contrast, not of another thing.
#[test]
fn the_length_of_features_does_not_count() {
    let seen = features(0..CLASSES, 400, 1);
    let Fitted { known, .. } = fit(seen.view(), None, Blurred::default(), 0.05).expect("enough images");
    let longer: Vec<f32> = seen.features.iter().map(|value| 3.0 * value).collect();
    let (as_it_was, found) = (known.distances(&seen.features, &seen.logits), known.distances(&longer, &seen.logits));
    assert!(as_it_was.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-2));
}

/// Were blurring a direction like any other, it would make every image unknown.
#[test]
fn directions_of_blurring_do_not_count() {
    let seen = features(0..CLASSES, 400, 1);
    let moved = |part: &Part| -> Vec<f32> {
        let is_blurred = |place: usize| place % WIDTH == WIDTH - 1;
        part.features.iter().enumerate().map(|(at, value)| value + if is_blurred(at) { 2.0 } else { 0.0 }).collect()
    };
    let copies = moved(&seen);
    let copies = Blurred { sharp: &seen.features, features: &copies, logits: &seen.logits, weak: &[] };
    let others = features(0..CLASSES, 100, 31_337);
    let blurred = moved(&others);
    for (copies, most) in [(copies, 0.2), (Blurred::default(), 1.0)] {
        let Fitted { known, .. } = fit(seen.view(), None, copies, 0.05).expect("enough images");
        let unknown =
            known.distances(&blurred, &others.logits).iter().filter(|&&distance| known.is_unknown(distance)).count();
        assert!((unknown as f64 / 100.0 <= most) && (most < 1.0 || unknown == 100), "{unknown} of 100");
    }
}

/// A classifier is less sure of blurred images. Where that makes it reject them, the line moves, unless blurring took what
/// they showed.
#[test]
fn recognised_blurred_copies_are_known() {
    let seen = features(0..CLASSES, 400, 1);
    let unsure: Vec<f32> = seen.logits.iter().map(|logit| 0.5 * logit - 2.0).collect();
    let copies = Blurred { sharp: &seen.features, features: &seen.features, logits: &unsure, weak: &seen.labels };
    let others: Vec<u32> = seen.labels.iter().map(|label| (label + 1) % CLASSES).collect();
    for (weak, least, most) in [(&seen.labels[..], 0.0, 0.06), (&others, 0.5, 1.0), (&[], 0.5, 1.0)] {
        let Fitted { known, rejected, .. } =
            fit(seen.view(), None, Blurred { weak, ..copies }, 0.05).expect("enough images");
        assert_eq!(rejected < 0.04, most < 1.0, "{rejected} of those that drew the line: fewer where it moved out");
        let share = known.share_unknown(&known.distances(&seen.features, &unsure));
        assert!((least..=most).contains(&share), "{share}");
    }
}

#[test]
fn one_class_and_features_that_never_vary_are_borne() {
    let one = features(0..1, 60, 3);
    let Fitted { known, auroc, .. } = fit(one.view(), None, Blurred::default(), 0.1).expect("enough images");
    assert!(auroc.is_none());
    assert!(known.distances(&one.features, &one.logits).iter().all(|distance| distance.is_finite()));
    let mut strange = one.features[..WIDTH].to_vec();
    strange[WIDTH - 1] += 3.0;
    assert!(known.is_unknown(known.distances(&strange, &one.logits[..CLASSES as usize])[0]));
    assert!(known.is_unknown(known.distances(&[f32::NAN; WIDTH], &one.logits[..CLASSES as usize])[0]));
    let constant = Part {
        features: vec![1.0; 40 * WIDTH],
        logits: vec![0.5; 80],
        labels: (0..40).map(|image| image % 2).collect(),
    };
    if let Some(Fitted { known, .. }) = fit(constant.view(), None, Blurred::default(), 0.05) {
        assert!(
            !known.is_unknown(known.distances(&constant.features, &constant.logits)[0]),
            "what was seen is not unknown"
        );
    }
    assert!(fit(features(0..2, 10, 1).view(), None, Blurred::default(), 0.05).is_none(), "too few to say");
    assert!(
        fit(Labelled { features: &[], logits: &[0.0; 40], labels: &[0; 40] }, None, Blurred::default(), 0.05).is_none(),
        "no features"
    );
}

#[test]
fn tensors_bring_it_back() {
    let seen = features(0..CLASSES, 200, 1);
    let copies: Vec<f32> = (0..30 * WIDTH).map(noise).collect();
    let copies = Blurred { sharp: &seen.features[..copies.len()], features: &copies, ..Blurred::default() };
    let Fitted { known, .. } = fit(seen.view(), None, copies, 0.05).expect("enough images");
    let tensors = known.tensors();
    let find = |name: &str| {
        tensors.iter().find(|tensor| tensor.0 == name).map(|(_, shape, values)| (shape.clone(), values.clone()))
    };
    assert_eq!(Known::from_tensors(WIDTH, find), Ok(Some(known)));
    assert_eq!(Known::from_tensors(WIDTH, |_| None), Ok(None));
    let error = Known::from_tensors(WIDTH + 1, find).expect_err("another width");
    assert_eq!(error, "tensor unknown.mean is [24], but the network has 25 features");
    assert!(Known::from_tensors(0, |name| find(name).map(|_| (vec![0], Vec::new()))).is_err(), "no features");
    for missing in ["unknown.blur", "unknown.components", "unknown.scale"] {
        let error = Known::from_tensors(WIDTH, |name| find(name).filter(|_| name != missing));
        assert_eq!(error, Err(format!("tensor {missing} is missing")));
    }
    let error = Known::from_tensors(WIDTH, |name| find(name).or((name == "unknown.directions").then(Default::default)));
    assert_eq!(error, Err("an earlier Percept wrote what it tells unknown images by".into()));
    assert_eq!(tensors.iter().find(|tensor| tensor.0 == "unknown.blur").map(|tensor| tensor.1[1]), Some(7));
}

#[test]
fn auroc_counts_pairs() {
    // Of six pairs four are in order and one is equal.
    assert_eq!(auroc(&[1.0, 2.0, 4.0], &[3.0, 4.0]), 4.5 / 6.0);
    assert_eq!(auroc(&[1.0, 1.0], &[1.0]), 0.5);
    assert_eq!(auroc(&[1.0], &[2.0]), 1.0);
}
