//! In the steady state neither training nor prediction allocates a buffer above 4 KiB: each is kept by whoever uses it.

#![allow(unsafe_code, reason = "an allocator that watches is the only way to know")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use percept::{
    Classifier,
    data::{
        LabelSets,
        augment::{Augmentation, Flip},
        batches::{Batch, Images, Moment},
    },
    image::{Fit, Image, ImageShape, Views},
    model::{self, ModelConfig, Parameters},
    ops::{Answers, LossConfig, Network, Precision, Predictor, Targets},
    train::{OptimizerConfig, OptimizerKind},
    weights::{ModelCard, SavedModel},
};

/// The system's allocator, which remembers the largest request.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, memory: Layout) -> *mut u8 {
        LARGEST.fetch_max(memory.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, memory) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, memory: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, memory, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The largest buffer that the fifth step allocates. With several threads, one of them may meet its first task of a kind
/// late: then it is the least that one of a hundred steps allocates, which a buffer of every step would show in.
fn largest_of_a_step(threads: usize, mut step: impl FnMut(u64) + Send) -> usize {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        (0..4).for_each(&mut step);
        let mut least = usize::MAX;
        for number in 4..if threads == 1 { 5 } else { 104 } {
            LARGEST.store(0, Ordering::Relaxed);
            step(number);
            least = least.min(LARGEST.load(Ordering::Relaxed));
            if least <= BOUND {
                break;
            }
        }
        least
    })
}

const BOUND: usize = 4096;
const BATCH: usize = 12;
const CLASSES: usize = 100;
const SHAPE: ImageShape = ImageShape { height: 16, width: 16, channels: 3 };
/// Of images that are above the bound each.
const LARGE: ImageShape = ImageShape { height: 40, width: 40, channels: 3 };

fn network(name: &str) -> Network {
    let graph = model::build(
        name,
        &ModelConfig { input: SHAPE, classes: CLASSES, hidden: 70, per_pixel: false, conventions: None },
    )
    .expect("a model");
    let mut parameters = Parameters::initialize(&graph, 1);
    parameters.get_mut(&graph, "normalize.deviation").expect("every graph normalises").fill(60.0);
    Network::new(graph, parameters)
}

fn pixels(shape: ImageShape) -> Vec<u8> {
    (0..BATCH * shape.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 251) as u8).collect()
}

/// One test, since whatever runs beside it would allocate too.
#[test]
fn no_step_allocates_a_buffer_that_an_earlier_one_had() {
    for threads in [1, 2] {
        for name in ["mlp", "cnn6", "resnet18"] {
            for precision in [Precision::F32, Precision::Bf16] {
                // Muon takes seconds for the filters of a residual network.
                let muon = (name != "resnet18").then_some(OptimizerKind::Muon);
                for kind in [OptimizerKind::Sgd, OptimizerKind::AdamW].into_iter().chain(muon) {
                    let largest = learn(threads, name, precision, kind);
                    assert!(largest <= BOUND, "learning of {name} in {precision:?} with {kind}: {largest} bytes");
                }
            }
            let largest = predict(threads, name);
            assert!(largest <= BOUND, "prediction of {name}: {largest} bytes");
            let largest = classify(threads, name);
            assert!(largest <= BOUND, "classification by {name}: {largest} bytes");
        }
        for several in [false, true] {
            let largest = fill(threads, several);
            assert!(largest <= BOUND, "augmentation, several classes: {several}: {largest} bytes");
        }
    }
}

fn learn(threads: usize, name: &str, precision: Precision, kind: OptimizerKind) -> usize {
    let mut network = network(name);
    network.precision = precision;
    let settings = OptimizerConfig { kind, momentum: 0.9, weight_decay: 0.01, gradient_clip: 0.0, fine_tuning: None };
    let mut optimizer = settings.init(network.graph());
    let (pixels, labels) = (pixels(SHAPE), [3; BATCH]);
    largest_of_a_step(threads, move |number| {
        let loss = LossConfig::default();
        optimizer.learn(&mut network, &pixels, Targets::Labels(&labels), &loss, 0.001, number);
        // As a batch in parts, of which the first has a step of its own.
        network.learn(&pixels, Targets::Labels(&labels), &loss, true, 0.5);
    })
}

fn predict(threads: usize, name: &str) -> usize {
    let mut predictor: Predictor = network(name).predictor().with_views(Views::Mirror);
    let (pixels, mut answers, mut of_one) = (pixels(SHAPE), Answers::default(), Answers::default());
    largest_of_a_step(threads, move |_| {
        predictor.answer_into(&pixels, &mut answers);
        predictor.answer_into(&pixels[..SHAPE.len()], &mut of_one);
    })
}

/// What is returned is the caller's, and is kept below the bound here.
fn classify(threads: usize, name: &str) -> usize {
    let config = ModelConfig { input: LARGE, classes: 10, hidden: 70, per_pixel: false, conventions: None };
    let graph = model::build(name, &config).expect("a model");
    let parameters = Parameters::initialize(&graph, 1);
    let classes = (0..10).map(|class| class.to_string()).collect();
    let card = ModelCard::new(name, config, classes, Fit::Stretch);
    let mut classifier = Classifier::from_saved(SavedModel { card, graph, parameters, known: None, recall: None });
    let pictures: Vec<Image> =
        pixels(LARGE).chunks_exact(LARGE.len()).map(|pixels| Image { shape: LARGE, pixels: pixels.into() }).collect();
    largest_of_a_step(threads, move |_| drop(classifier.classify(&pictures)))
}

fn fill(threads: usize, several: bool) -> usize {
    let (pixels, labels) = (pixels(LARGE), [1; BATCH]);
    let sets = LabelSets::of_single(CLASSES);
    let sets = several.then_some(&sets);
    let plain = Augmentation::default();
    let (indices, mut batch) = (Vec::from_iter(0..BATCH as u32), Batch::default());
    let turned = Augmentation {
        flip: Flip::Alternating,
        crop: 2,
        rotation: 10.0,
        trivial_augment: true,
        color_jitter: 0.2,
        random_erasing: 0.5,
        ..plain.clone()
    };
    let mixed = Augmentation { cutmix: 1.0, mixup: 0.2, ..turned.clone() };
    largest_of_a_step(threads, |step| {
        let images = Images { shape: LARGE, pixels: &pixels, labels: &labels, sets, classes: CLASSES };
        let moment = Moment { seed: 1, epoch: 0, step };
        for augmentation in if several { [&plain, &turned] } else { [&mixed, &mixed] } {
            batch.fill(&images, &indices, augmentation, moment).expect("a batch");
        }
    })
}
