use super::*;

/// Features of two classes: far apart along the first axis, the second one spread wide along the second axis.
fn features() -> (Vec<f32>, Vec<u32>) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let labels: Vec<u32> = (0..400).map(|image| image % 2).collect();
    let row = |&label: &u32| {
        let (side, wide) = if label == 0 { (-5.0, 1.0) } else { (5.0, 2.0) };
        let mut row: Vec<f32> = (0..6).map(|_| 0.1 * wide * normal(&mut random)).collect();
        row[0] += side;
        row[1] = 3.0 * wide * normal(&mut random) + side;
        row
    };
    (labels.iter().flat_map(row).collect(), labels)
}

fn moments(values: &[f32], labels: &[u32], class: u32, feature: usize) -> [f64; 2] {
    let own = labels.iter().enumerate().filter(|(_, label)| **label == class);
    let values: Vec<f64> = own.map(|(image, _)| f64::from(values[image * 6 + feature])).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    [mean, square.sqrt()]
}

#[test]
fn what_is_drawn_is_like_what_was_seen() {
    let (seen, labels) = features();
    let recall = Recall::fit(&seen, &labels, &[200, 600]).unwrap();
    let drawn = recall.draw(10.0, 4_000, 7, 0);
    let count = |class| drawn.labels.iter().filter(|&&label| label == class).count();
    assert_eq!([count(0), count(1)], [1_000, 3_000], "as many of each as were learned from, and no more than allowed");
    for (class, feature) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 5)] {
        let [mean, deviation] = moments(&seen, &labels, class, feature);
        let [drawn_mean, drawn_deviation] = moments(&drawn.features, &drawn.labels, class, feature);
        assert!(
            (mean - drawn_mean).abs() < 0.1 * deviation + 0.05,
            "class {class}, feature {feature}: mean {drawn_mean}"
        );
        let ratio = drawn_deviation / deviation;
        assert!((0.8..1.25).contains(&ratio), "class {class}, feature {feature}: deviation {drawn_deviation}");
    }
    assert_eq!(recall.draw(0.1, 100, 7, 0), recall.draw(0.1, 100, 7, 0));
    assert_ne!(recall.draw(0.1, 100, 7, 0), recall.draw(0.1, 100, 7, 1));
}

#[test]
fn it_survives_its_file_and_a_class_that_was_not_seen() {
    let (seen, labels) = features();
    let recall = Recall::fit(&seen, &labels, &[200, 200, 9]).unwrap();
    assert_eq!(recall.counts(), [200, 200, 0], "nothing is known of the third");
    assert!(recall.draw(1.0, 1_000, 0, 0).labels.iter().all(|&label| label < 2));
    let find = |tensors: Vec<(&'static str, Vec<usize>, Vec<f32>)>, name: &str| {
        tensors.into_iter().find(|tensor| tensor.0 == name).map(|(_, shape, values)| (shape, values))
    };
    assert_eq!(Recall::from_tensors(6, 3, |name| find(recall.tensors(), name)).unwrap().as_ref(), Some(&recall));
    assert_eq!(Recall::from_tensors(6, 3, |_| None).unwrap(), None);
    let wrong = Recall::from_tensors(7, 3, |name| find(recall.tensors(), name)).unwrap_err();
    assert_eq!(wrong, "tensor recall.means is [3, 6], not [3, 7]");
    let lacking = |name: &str| (name != "recall.rest").then(|| find(recall.tensors(), name)).flatten();
    assert_eq!(Recall::from_tensors(6, 3, lacking).unwrap_err(), "tensor recall.rest is missing");
}

#[test]
fn old_classes_stay_as_they_were_known() {
    let (seen, labels) = features();
    let old = Recall::fit(&seen, &labels, &[200, 200]).unwrap();
    let shifted: Vec<f32> = seen.iter().map(|value| value + 1.0).collect();
    let new = Recall::fit(&shifted, &labels, &[9, 9]).unwrap();
    let both = new.clone().with_classes_of(&old, |class| class == 0);
    assert_eq!((&both.means[..6], &both.means[6..]), (&old.means[..6], &new.means[6..]));
    assert_eq!(both.counts(), [200, 9]);
}

#[test]
fn held_out_images_say_how_far_to_spread() {
    let (seen, labels) = features();
    let recall = Recall::fit(&seen, &labels, &[200, 200]).unwrap();
    let [left, right] = [0, 1].map(|class| recall.means[class * 6..][..6].to_vec());
    let mean = |image: usize| if labels[image] == 0 { &left } else { &right };
    let away = |(place, value): (usize, &f32)| mean(place / 6)[place % 6] + 2.0 * (value - mean(place / 6)[place % 6]);
    let held: Vec<f32> = seen.iter().enumerate().map(away).collect();
    let wide = recall.clone().widened_to(&held, &labels);
    for (wide, narrow) in wide.spreads.iter().zip(&recall.spreads) {
        assert!((wide / narrow - 2.0).abs() < 0.05, "{wide} and {narrow}");
    }
    assert_eq!(recall.clone().widened_to(&seen, &[]), recall);
}
