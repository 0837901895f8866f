//! Burn's side of `bench/run.py`: the workloads of `bench/torch_side.py` on Flex, Burn's own backend for CPUs.
//!
//! `burn-side WORKLOAD train|infer [--threads 2] [--batch N] [--milliseconds 1000]`
//!
//! Speaks as every side does: one line of JSON when ready, then one for every line of standard input.

mod model;

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig},
    prelude::*,
    tensor::Distribution,
};
use model::Classifier;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workload, mode, ..] = arguments.as_slice() else {
        eprintln!("usage: burn-side WORKLOAD train|infer [--threads 2] [--batch N] [--milliseconds 1000]");
        std::process::exit(2);
    };
    let option = |name: &str, usual: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(usual)
    };
    // SAFETY: no other thread runs yet. Both of Flex's thread pools read it.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", option("--threads", 2).to_string()) };
    let batch = option("--batch", if model::is_convolutional(workload) { 128 } else { 100 });
    let mut step = make_step(workload, mode, batch);
    warm_up(&mut step);
    println!("{}", serde_json::json!({ "ready": true, "version": "0.22.1", "batch": batch }));
    let time = Duration::from_millis(option("--milliseconds", 1000) as u64);
    for line in std::io::stdin().lock().lines() {
        if line.is_ok() {
            println!("{}", take_turn(&mut step, time));
        }
    }
}

/// One step of training, or the logits of one batch.
fn make_step(workload: &str, mode: &str, batch: usize) -> Box<dyn FnMut()> {
    let train = mode == "train";
    let device = if train { Device::flex().autodiff() } else { Device::flex() };
    let mut model = Some(Classifier::new(workload, &device));
    let images = Tensor::<4>::random([batch, 3, 32, 32], Distribution::Uniform(0.0, 1.0), &device);
    if !train {
        return Box::new(move || {
            // Reading the logits makes sure that they have been computed.
            let _ = model.as_ref().map(|model| model.forward(images.clone()).into_data());
        });
    }
    let labels = (0..batch as i64).map(|index| index * 7 % 10).collect::<Vec<_>>();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [batch]), &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimizer = SgdConfig::new().init();
    Box::new(move || {
        let Some(learning) = model.take() else { return };
        let loss = loss.forward(learning.forward(images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &learning);
        model = Some(optimizer.step(0.005, learning, gradients));
    })
}

/// At most three steps or half a second, at least one.
fn warm_up(step: &mut dyn FnMut()) {
    let begin = Instant::now();
    for _ in 0..3 {
        step();
        if begin.elapsed() > Duration::from_millis(500) {
            break;
        }
    }
}

/// Steps until the time is over, at least one; the time of each in milliseconds.
fn take_turn(step: &mut dyn FnMut(), time: Duration) -> serde_json::Value {
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || begin.elapsed() < time {
        let before = Instant::now();
        step();
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let part = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    serde_json::json!({ "mean": mean, "median": part(0.5), "p90": part(0.9), "steps": times.len() })
}
