use sha2::{Digest, Sha256};

use super::*;
use crate::data::augment::{Flip, Padding};

/// Images that owe nothing to randomness, and their labels.
struct Data {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Data {
    fn new(images: usize, height: usize, width: usize, channels: usize) -> Self {
        let shape = ImageShape { height, width, channels };
        let pixels = (0..images * shape.len()).map(|i| ((i * i / 7 + 31 * i) % 253) as u8).collect();
        Self { shape, pixels, labels: (0..images as u32).map(|image| image % 5).collect() }
    }

    fn images(&self) -> Images<'_> {
        Images { shape: self.shape, pixels: &self.pixels, labels: &self.labels, sets: None, classes: 5 }
    }
}

fn everything() -> Augmentation {
    Augmentation {
        flip: Flip::Alternating,
        crop: 2,
        padding: Padding::Reflect,
        rotation: 15.0,
        zoom: 0.2,
        trivial_augment: true,
        color_jitter: 0.4,
        random_erasing: 0.5,
        mixup: 0.2,
        cutmix: 1.0,
    }
}

fn moment(step: u64) -> Moment {
    Moment { seed: 3, epoch: step / 4, step }
}

fn sampler(images: u32, batch_size: usize, sampling: Sampling, keep_last: bool) -> Sampler {
    Sampler::new((0..images).collect(), batch_size, sampling, keep_last, 11).unwrap()
}

#[test]
fn an_epoch_shows_every_image_once() {
    let mut sampler = sampler(103, 10, Sampling::EpochShuffle, true);
    assert_eq!(sampler.steps_per_epoch(), 11);
    let mut epochs = Vec::new();
    for epoch in 0..3 {
        let mut seen: Vec<u32> = (0..11).flat_map(|step| sampler.batch(epoch * 11 + step).to_vec()).collect();
        epochs.push(seen.clone());
        seen.sort_unstable();
        assert_eq!(seen, (0..103).collect::<Vec<_>>());
    }
    assert_eq!(sampler.batch(10).len(), 3);
    assert_ne!(epochs[0], epochs[1]);
    assert_ne!(epochs[1], epochs[2]);
}

#[test]
fn training_drops_the_short_batch_unless_there_is_no_other() {
    let mut dropping = sampler(103, 10, Sampling::EpochShuffle, false);
    assert_eq!(dropping.steps_per_epoch(), 10);
    assert!((0..40).all(|step| dropping.batch(step).len() == 10));
    assert_eq!((dropping.epoch_of(9), dropping.epoch_of(10)), (0, 1));
    let mut small = sampler(7, 10, Sampling::EpochShuffle, false);
    assert_eq!((small.steps_per_epoch(), small.batch(0).len(), small.batch(5).len()), (1, 7, 7));
    assert_ne!(small.batch(0).to_vec(), small.batch(1).to_vec());
}

#[test]
fn with_replacement_every_image_is_as_likely_and_repeats_come_up() {
    let mut sampler = sampler(20, 100, Sampling::WithReplacement, false);
    assert_eq!(sampler.steps_per_epoch(), 1);
    let mut counts = [0_u32; 20];
    for step in 0..200 {
        let batch = sampler.batch(step);
        assert_eq!(batch.len(), 100);
        for &image in batch {
            counts[image as usize] += 1;
        }
    }
    assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    assert_ne!(sampler.batch(0).to_vec(), sampler.batch(1).to_vec());
}

#[test]
fn the_sampler_yields_the_indices_that_it_was_given() {
    let images = vec![907, 5, 44];
    for sampling in [Sampling::EpochShuffle, Sampling::WithReplacement] {
        let mut sampler = Sampler::new(images.clone(), 2, sampling, true, 0).unwrap();
        assert!((0..6).all(|step| sampler.batch(step).iter().all(|image| images.contains(image))));
    }
}

#[test]
fn a_training_that_resumes_sees_the_same_batches() {
    let data = Data::new(50, 12, 9, 3);
    for sampling in [Sampling::EpochShuffle, Sampling::WithReplacement] {
        let batch_of = |sampler: &mut Sampler, batch: &mut Batch, step| {
            let moment = Moment { seed: 11, epoch: sampler.epoch_of(step), step };
            batch.fill(&data.images(), sampler.batch(step), &everything(), moment).unwrap();
            batch.clone()
        };
        let (mut through, mut reused) = (sampler(50, 8, sampling, false), Batch::default());
        let all: Vec<Batch> = (0..20).map(|step| batch_of(&mut through, &mut reused, step)).collect();
        for step in [19, 7, 13] {
            let (mut resumed, mut fresh) = (sampler(50, 8, sampling, false), Batch::default());
            assert_eq!(batch_of(&mut resumed, &mut fresh, step), all[step as usize], "{sampling:?}, step {step}");
        }
    }
}

#[test]
fn threads_and_old_contents_change_nothing() {
    let data = Data::new(64, 40, 33, 3);
    let indices: Vec<u32> = (0..64).rev().collect();
    for augmentation in [everything(), Augmentation::default()] {
        let fill = |threads: usize, mut batch: Batch| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| batch.fill(&data.images(), &indices, &augmentation, moment(5)).unwrap());
            batch
        };
        let used =
            Batch { pixels: vec![7; 1_000_000], labels: vec![1; 99], targets: Some(vec![3.0; 9]), ..Batch::default() };
        let alone = fill(1, Batch::default());
        assert_eq!(fill(4, Batch::default()), alone);
        assert_eq!(fill(3, used), alone);
    }
}

#[test]
fn an_image_is_augmented_alike_in_any_batch() {
    let data = Data::new(30, 12, 9, 1);
    let augmentation = Augmentation { mixup: 0.0, cutmix: 0.0, ..everything() };
    let fill = |indices: &[u32]| {
        let mut batch = Batch::default();
        batch.fill(&data.images(), indices, &augmentation, moment(2)).unwrap();
        batch.pixels
    };
    let whole = fill(&(0..30).collect::<Vec<_>>());
    let halves = [fill(&(0..13).collect::<Vec<_>>()), fill(&(13..30).collect::<Vec<_>>())].concat();
    assert_eq!(whole, halves);
}

/// These hashes are what a seed means: they may only change with a note in the change log, and must come out alike
/// on every system and processor.
#[test]
fn seeds_mean_the_same_on_every_machine() {
    let mut order = Sha256::new();
    for sampling in [Sampling::EpochShuffle, Sampling::WithReplacement] {
        let mut sampler = sampler(1000, 64, sampling, true);
        for step in 0..40 {
            sampler.batch(step).iter().for_each(|image| order.update(image.to_le_bytes()));
        }
    }
    let mut pictures = Sha256::new();
    for channels in [1, 3] {
        let data = Data::new(24, 18, 21, channels);
        let mut batch = Batch::default();
        for step in 0..12 {
            batch.fill(&data.images(), &(0..24).collect::<Vec<_>>(), &everything(), moment(step)).unwrap();
            pictures.update(&batch.pixels);
            for target in batch.targets.iter().flatten() {
                pictures.update(target.to_le_bytes());
            }
        }
    }
    let hexadecimal = |hash: Sha256| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        [hexadecimal(order), hexadecimal(pictures)],
        [
            "ad4592a43cf9f85247f34a82bb5feaa08f5e3c96826e6b4a4c383ac6700c6064",
            "13425d23b06da6d3c2c6ada6d1ec9a7492a9eedb2692b829d13a0fbed3bc2a4f",
        ]
    );
}

#[test]
fn gathered_images_are_the_images() {
    for (height, width, channels) in [(1, 1, 1), (1, 7, 3), (5, 3, 1), (32, 32, 3), (150, 200, 3)] {
        let data = Data::new(23, height, width, channels);
        let indices: Vec<u32> = (0..23).map(|i| (i * 7 + 3) % 23).chain([4, 4]).collect();
        let mut batch = Batch::default();
        batch.gather(&data.images(), &indices).unwrap();
        let len = data.shape.len();
        let expected: Vec<u8> = indices.iter().flat_map(|&i| data.pixels[i as usize * len..][..len].to_vec()).collect();
        assert_eq!(batch.pixels, expected);
        assert_eq!(batch.labels, indices.iter().map(|&i| data.labels[i as usize]).collect::<Vec<_>>());
        assert_eq!((batch.targets, batch.shape), (None, data.shape));
    }
}

#[test]
fn everything_at_once_works_on_awkward_shapes() {
    for (height, width, channels) in [(1, 1, 1), (1, 5, 3), (5, 1, 1), (2, 3, 3), (8, 8, 1), (33, 17, 3)] {
        let data = Data::new(9, height, width, channels);
        let augmentation = Augmentation { crop: height.min(width) - 1, ..everything() };
        let mut batch = Batch::default();
        for step in 0..100 {
            for images in [0, 1, 2, 9] {
                let indices: Vec<u32> = (0..images).collect();
                batch.fill(&data.images(), &indices, &augmentation, moment(step)).unwrap();
                assert_eq!(batch.pixels.len(), indices.len() * data.shape.len());
                assert_eq!(batch.targets.as_ref().unwrap().len(), indices.len() * 5);
            }
        }
    }
}

#[test]
fn mixed_targets_say_what_the_pixels_hold() {
    // Image i is of the value 50 i throughout and of class i: pixels tell the shares.
    let shape = ImageShape { height: 16, width: 16, channels: 1 };
    let pixels: Vec<u8> = (0..5).flat_map(|i| vec![50 * i; 256]).collect();
    let labels = [0, 1, 2, 3, 4];
    let images = Images { shape, pixels: &pixels, labels: &labels, sets: None, classes: 5 };
    let mut shares = Vec::new();
    for (mixup, cutmix) in [(0.2, 0.0), (0.0, 1.0), (0.4, 0.4)] {
        for step in 0..50 {
            let mut batch = Batch::default();
            let augmentation = Augmentation { mixup, cutmix, ..Augmentation::default() };
            batch.fill(&images, &labels, &augmentation, moment(step)).unwrap();
            let targets = batch.targets.unwrap();
            for (target, image) in targets.chunks(5).zip(batch.pixels.chunks(256)) {
                let sum: f32 = target.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6);
                let mean = image.iter().map(|&value| f32::from(value)).sum::<f32>() / 256.0;
                let expected: f32 = target.iter().enumerate().map(|(class, share)| share * 50.0 * class as f32).sum();
                assert!((mean - expected).abs() < 0.51, "{mean} {expected}");
            }
            assert_eq!(targets[2 * 5 + 2], 1.0);
            shares.push(targets[0]);
        }
    }
    let mixed = shares.iter().filter(|&&share| share > 0.1 && share < 0.9).count();
    assert!((40..120).contains(&mixed), "{mixed} of 150 batches were mixed well");
}

#[test]
fn bad_requests_are_named() {
    let data = Data::new(4, 6, 5, 3);
    let message = |images: Images, indices: &[u32], augmentation: Augmentation| {
        Batch::default().fill(&images, indices, &augmentation, moment(0)).unwrap_err().to_string()
    };
    let none = Augmentation::default;
    assert_eq!(message(data.images(), &[1, 4], none()), "image 4 was asked for, but there are 4");
    let two = Images { classes: 2, ..data.images() };
    assert_eq!(message(two, &[1, 3], none()), "image 3 has label 3, but there are 2 classes");
    let short = Images { pixels: &data.pixels[1..], ..data.images() };
    assert_eq!(message(short, &[0], none()), "359 bytes are not 4 images of 6×5×3");
    let odd = Images { shape: ImageShape { height: 6, width: 15, channels: 4 }, ..data.images() };
    assert_eq!(message(odd, &[0], none()), "images of 6×15 pixels and 4 channels cannot be batched");
    let large = Augmentation { crop: 5, ..none() };
    assert_eq!(message(data.images(), &[0], large), "crop of 5 pixels is too large for images of 5×6 pixels");

    let refuse = |images: Vec<u32>, batch_size| {
        Sampler::new(images, batch_size, Sampling::EpochShuffle, false, 0).err().unwrap().to_string()
    };
    assert_eq!(refuse(vec![], 8), "there is no image to train on");
    assert_eq!(refuse(vec![1], 0), "batch size 0 holds no image");
}

#[test]
fn evaluation_goes_through_a_split_in_order() {
    let split: Vec<u32> = (100..107).collect();
    let batches: Vec<&[u32]> = evaluation_batches(&split, 3).collect();
    assert_eq!(batches, [&[100, 101, 102][..], &[103, 104, 105], &[106]]);
}

#[test]
fn sampling_has_its_names_in_files() {
    assert_eq!(serde_json::to_string(&Sampling::WithReplacement).unwrap(), "\"with-replacement\"");
    assert_eq!(serde_json::to_string(&Sampling::EpochShuffle).unwrap(), "\"epoch-shuffle\"");
}

#[test]
fn images_of_several_classes_have_a_target_for_each() {
    let data = Data::new(7, 8, 8, 1);
    let (sets, labels) = LabelSets::number((0..7u32).map(|image| (0..image % 3).collect::<Vec<u32>>()));
    let images = Images { labels: &labels, sets: Some(&sets), ..data.images() };
    let mut batch = Batch::default();
    batch.gather(&images, &[2, 0]).unwrap();
    assert_eq!(batch.targets.as_deref(), Some(&[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][..]));
    let moment = Moment { seed: 1, epoch: 0, step: 0 };
    let flip = Augmentation { flip: Flip::Random, ..Augmentation::default() };
    batch.fill(&images, &[1, 3], &flip, moment).unwrap();
    assert_eq!(batch.targets.as_deref(), Some(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][..]));
    // Mixed, an image has of its own classes its own share, and of its partner's the rest; of those of both all.
    let mix = Augmentation { mixup: 1.0, ..Augmentation::default() };
    batch.fill(&images, &[2, 1], &mix, moment).unwrap();
    let targets = batch.targets.unwrap();
    let own = targets[1];
    assert!(own > 0.0 && own < 1.0, "{targets:?}");
    assert_eq!([targets[0], targets[5], targets[6]], [1.0, 1.0, 1.0 - own]);
}
