//! How fast, and in how much memory, one workload runs by the very training step and `Classifier` that the commands
//! use. Percept's side of `bench/run.py`.
//!
//! `cargo run --release -p percept --example throughput -- WORKLOAD train|infer|features|memory`
//! `[--threads 2] [--batch N] [--size 32] [--width 100] [--precision f32] [--milliseconds 2000] [--ask]`
//!
//! Prints what it runs and then one turn, each as a line of JSON; times are milliseconds a step. With `--ask` it takes
//! a turn for every line of standard input instead, so that several programs can take theirs one after the other.
//! `--width` is a percentage of cnn6's channels. Images are random bytes; normalisation is part of the network, and
//! inference ends with the classes in order. Memory is what training adds to the resident memory of before, at its
//! peak; Linux only.

mod side;

use std::{fs, io};

use percept::{
    Classifier, Isa, LargePages,
    image::{Fit, Image, ImageShape},
    model::{self, Graph, ModelConfig, Parameters, graph},
    ops::{LossConfig, Network, Precision, Predictor, Targets},
    train::{OptimizerConfig, OptimizerKind},
    weights::{ModelCard, SavedModel},
};
use serde_json::json;
use side::Arguments;

/// As `percept` itself.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const CLASSES: usize = 10;
/// Steps until memory grows no more.
const STEPS_OF_MEMORY: u64 = 3;

/// Random images of one shape, and the network for them.
struct Workload {
    name: String,
    graph: Graph,
    config: ModelConfig,
    batch: usize,
    /// What training multiplies.
    precision: Precision,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::new();
    let [name, mode @ ("train" | "infer" | "features" | "memory"), ..] =
        &arguments.all.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        eprintln!(
            "usage: throughput WORKLOAD train|infer|features|memory [--threads 2] [--batch N] [--size 32] [--width 100]"
        );
        std::process::exit(2);
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.number("--threads", 2)).build();
    pool.map_err(io::Error::other)?.install(|| {
        let workload = Workload::new(name, &arguments);
        match *mode {
            "memory" => measure_memory(&workload),
            mode => run(&workload, mode, &arguments),
        }
    })
}

fn run(workload: &Workload, mode: &str, arguments: &Arguments) -> io::Result<()> {
    let mut step: Box<dyn FnMut(u64)> = match mode {
        "train" => workload.trainer(),
        "features" => workload.extractor(),
        _ => workload.classifier(),
    };
    (0..3).for_each(&mut step);
    let flops = 2 * workload.multiply_adds(mode == "train");
    let isa = Isa::current().name();
    let ready = json!({ "ready": true, "isa": isa, "batch": workload.batch, "flops_per_image": flops });
    side::take_turns(arguments, &ready, workload.batch, &mut step)
}

impl Workload {
    fn new(name: &str, arguments: &Arguments) -> Self {
        let size = arguments.number("--size", 32);
        let input = ImageShape { height: size, width: size, channels: 3 };
        let config = ModelConfig { input, classes: CLASSES, hidden: 512, per_pixel: false, conventions: None };
        let graph = match arguments.number("--width", 100) {
            100 => model::build(name, &config),
            percent => cnn6_of_width(&config, percent),
        };
        let graph = graph.expect("a model's name, and images that it can take");
        let batch = arguments.number("--batch", if graph.is_convolutional() { 128 } else { 100 });
        let precision = match arguments.text("--precision") {
            None | Some("f32") => Precision::F32,
            Some("bf16") => Precision::Bf16,
            Some(other) => panic!("--precision f32 or bf16, not {other}"),
        };
        Self { name: name.into(), graph, config, batch, precision }
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::initialize(&self.graph, 0);
        for (name, value) in [("normalize.mean", 127.0), ("normalize.deviation", 70.0)] {
            parameters.get_mut(&self.graph, name).expect("every graph normalises").fill(value);
        }
        parameters
    }

    fn pixels(&self) -> Vec<u8> {
        (0..self.batch * self.config.input.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 251) as u8).collect()
    }

    fn labels(&self) -> Vec<u32> {
        (0..self.batch).map(|i| (i * 7 % CLASSES) as u32).collect()
    }

    /// One step of training, as the commands take it.
    fn trainer(&self) -> Box<dyn FnMut(u64)> {
        let (images, labels) = (self.pixels(), self.labels());
        self.trainer_on(images, labels)
    }

    fn trainer_on(&self, images: Vec<u8>, labels: Vec<u32>) -> Box<dyn FnMut(u64)> {
        let mut network = Network::new(self.graph.clone(), self.parameters());
        network.precision = self.precision;
        let sgd = OptimizerConfig {
            kind: OptimizerKind::Sgd,
            momentum: 0.0,
            weight_decay: 0.0,
            gradient_clip: 0.0,
            fine_tuning: None,
        };
        let mut optimizer = sgd.init(network.graph());
        let loss = LossConfig::default();
        Box::new(move |number| {
            optimizer.learn(&mut network, &images, Targets::Labels(&labels), &loss, 0.005, number);
        })
    }

    /// Classes in order, for one batch of decoded pictures.
    fn classifier(&self) -> Box<dyn FnMut(u64)> {
        let classes = (0..CLASSES).map(|class| class.to_string()).collect();
        let card = ModelCard::new(&self.name, self.config.clone(), classes, Fit::Stretch);
        let (graph, parameters) = (self.graph.clone(), self.parameters());
        let mut classifier = Classifier::from_saved(SavedModel { card, graph, parameters, known: None, recall: None });
        let shape = self.config.input;
        let images = self
            .pixels()
            .chunks_exact(shape.len())
            .map(|pixels| Image { shape, pixels: pixels.into() })
            .collect::<Vec<_>>();
        Box::new(move |_| drop(classifier.classify(&images)))
    }

    /// What the classifier would see of one batch of pictures.
    fn extractor(&self) -> Box<dyn FnMut(u64)> {
        let backbone = self.graph.without_classifier().expect("a network with a classifier");
        let mut parameters = self.parameters();
        parameters.0.truncate(backbone.parameters.len());
        let mut predictor = Predictor::new(backbone, parameters);
        let images = self.pixels();
        Box::new(move |_| drop(predictor.infer(&images)))
    }

    /// Those of convolutions and linear layers for one image, as the direct algorithm makes them: in training three
    /// times those of the forward pass, less the first layer's gradient of the images, which nobody needs.
    fn multiply_adds(&self, train: bool) -> u64 {
        let counts = |op: &graph::Op| matches!(op, graph::Op::Conv2d { .. } | graph::Op::Linear);
        let layers = self.graph.nodes.iter().filter(|node| counts(&node.op));
        let layers: Vec<u64> = layers.map(|node| node.multiply_adds).collect();
        let forward: u64 = layers.iter().sum();
        if train { 3 * forward - layers[0] } else { forward }
    }
}

/// The layers of cnn6 with another number of channels.
fn cnn6_of_width(config: &ModelConfig, percent: usize) -> percept::Result<Graph> {
    let (mut graph, mut x) = Graph::new("cnn6", config.input, false);
    for (index, filters) in [32, 32, 64, 64, 128, 128].into_iter().enumerate() {
        let [conv, norm, relu, pool] = ["conv", "norm", "relu", "pool"].map(|part| format!("{part}{index}"));
        x = graph.conv2d(&conv, x, filters * percent / 100, graph::Window::same(3, 1), graph::Init::UniformFanIn)?;
        x = graph.batch_norm(&norm, x, graph::Role::Scale);
        x = graph.relu(&relu, x);
        if index == 1 || index == 3 {
            x = graph.max_pool(&pool, x, graph::Window::valid(2, 2))?;
        }
    }
    let x = graph.global_average_pool("pool", x);
    graph.linear("head", x, config.classes, graph::Init::UniformFanIn)?;
    Ok(graph)
}

/// Trains some steps and prints what that added to the resident memory, at its peak. Images were there before.
fn measure_memory(workload: &Workload) -> io::Result<()> {
    let (images, labels) = (workload.pixels(), workload.labels());
    let before = resident("VmRSS:")?;
    // Makes the peak that of now: see proc(5).
    fs::write("/proc/self/clear_refs", "5")?;
    let mut step = workload.trainer_on(images, labels);
    (0..STEPS_OF_MEMORY).for_each(&mut step);
    println!("{}", json!({ "megabytes": (resident("VmHWM:")? - before) * 1.024e-3, "isa": Isa::current().name() }));
    Ok(())
}

/// A line of this process's status, in units of 1024 bytes; an error where the system keeps none.
fn resident(key: &str) -> io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc/self/status has no {key}")))
}
