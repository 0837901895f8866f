//! Images a second of one workload, by the very training step and predictor that the commands use. Percept's side of
//! `bench/run.py`.
//!
//! `cargo run --release -p percept --example throughput -- WORKLOAD train|infer [THREADS] [BATCH]`
//!
//! Prints one JSON object. Images are random bytes; normalisation is part of the network.

use std::time::Instant;

use percept::{
    Isa,
    image::ImageShape,
    model::{self, ModelConfig, Parameters},
    ops::{LossConfig, Network, Targets},
    train::{OptimizerConfig, OptimizerKind},
};

const REPEATS: usize = 5;
const CLASSES: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, mode, more @ ..] = arguments.as_slice() else {
        eprintln!("usage: throughput WORKLOAD train|infer [THREADS] [BATCH]");
        std::process::exit(2);
    };
    let number = |place: usize| more.get(place).and_then(|text| text.parse::<usize>().ok());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number(0).unwrap_or(2)).build().expect("threads start");
    let rate = pool.install(|| measure(name, mode, number(1)));
    println!(
        "{}",
        serde_json::json!({
            "workload": name, "mode": mode, "images_per_second": (rate * 10.0).round() / 10.0, "isa": Isa::current().name(),
        })
    );
}

/// The median of some measurements, each of about half a second.
fn measure(name: &str, mode: &str, batch: Option<usize>) -> f64 {
    let input = ImageShape { height: 32, width: 32, channels: 3 };
    let config = ModelConfig { input, classes: CLASSES, hidden: 512, per_pixel: false };
    let graph = model::build(name, &config).expect("a model's name");
    let batch = batch.unwrap_or(if graph.is_convolutional() { 128 } else { 100 });
    let mut parameters = Parameters::initialize(&graph, 0);
    for (name, value) in [("normalize.mean", 127.0), ("normalize.deviation", 70.0)] {
        parameters.get_mut(&graph, name).expect("every graph normalises").fill(value);
    }
    let images: Vec<u8> = (0..batch * input.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 251) as u8).collect();
    let labels: Vec<u32> = (0..batch).map(|i| (i * 7 % CLASSES) as u32).collect();
    let mut network = Network::new(graph, parameters);
    let sgd = OptimizerConfig { kind: OptimizerKind::Sgd, momentum: 0.0, weight_decay: 0.0, gradient_clip: 0.0 };
    let mut optimizer = sgd.init(network.graph());
    let mut predictor = network.predictor();
    let loss = LossConfig::default();
    let mut step = |number: u64| match mode {
        "infer" => drop(predictor.infer(&images)),
        _ => {
            optimizer.learn(&mut network, &images, Targets::Labels(&labels), &loss, 0.005, number);
        }
    };
    (0..3).for_each(&mut step);
    let begin = Instant::now();
    step(3);
    let steps = (0.5 / begin.elapsed().as_secs_f64()).ceil() as u64;
    let mut rates: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let begin = Instant::now();
            (0..steps).for_each(&mut step);
            steps as f64 * batch as f64 / begin.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[REPEATS / 2]
}
