//! The numbers of a network: their beginning, and their order in memory and in files.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::graph::{Graph, Init, Layout, ParameterSpec};

/// One tensor a [`ParameterSpec`], in the graph's order, each in the memory order of its [`Layout`].
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters(pub Vec<Vec<f32>>);

impl Parameters {
    /// The beginning of a training. Each tensor draws from a stream of its own, so that adding a layer leaves the
    /// others as they were.
    pub fn initialize(graph: &Graph, seed: u64) -> Self {
        let draw = |(index, spec): (usize, &ParameterSpec)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(index as u64);
            to_memory(spec, &begin(spec, &mut random))
        };
        Self(graph.parameters.iter().enumerate().map(draw).collect())
    }

    /// As at the beginning, but with zeros for what is drawn there, which takes the longest: for numbers that come from a file.
    pub fn to_be_filled(graph: &Graph) -> Self {
        let begin = |spec: &ParameterSpec| {
            let value = match spec.init {
                Init::Ones => 1.0,
                Init::Constant(value) => value,
                Init::Zeros
                | Init::Whitening
                | Init::Normal(_)
                | Init::UniformFanIn
                | Init::Dirac
                | Init::KaimingNormalFanOut => 0.0,
            };
            vec![value; spec.len()]
        };
        Self(graph.parameters.iter().map(begin).collect())
    }

    /// The tensor of a name, in memory order.
    pub fn get(&self, graph: &Graph, name: &str) -> Option<&[f32]> {
        position(graph, name).map(|index| self.0[index].as_slice())
    }

    /// The tensor of a name, to be changed.
    pub fn get_mut(&mut self, graph: &Graph, name: &str) -> Option<&mut [f32]> {
        position(graph, name).map(|index| self.0[index].as_mut_slice())
    }
}

fn position(graph: &Graph, name: &str) -> Option<usize> {
    graph.parameters.iter().position(|spec| spec.name == name)
}

/// Values in file order.
fn begin(spec: &ParameterSpec, random: &mut ChaCha8Rng) -> Vec<f32> {
    let count = spec.len();
    let outputs = spec.shape.first().copied().unwrap_or(1).max(1);
    let fan_in = count / outputs;
    let mut uniform = |bound: f32| (0..count).map(|_| random.random_range(-bound..=bound)).collect::<Vec<f32>>();
    match spec.init {
        Init::Zeros | Init::Whitening => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant(value) => vec![value; count],
        Init::Normal(deviation) => (0..count).map(|_| deviation * normal(random)).collect(),
        Init::UniformFanIn => uniform(1.0 / (fan_in as f32).sqrt()),
        Init::Dirac => {
            let mut values = uniform(1.0 / (fan_in as f32).sqrt());
            pass_through(&mut values, &spec.shape);
            values
        }
        Init::KaimingNormalFanOut => {
            let fan_out = outputs * spec.shape[2..].iter().product::<usize>();
            let deviation = (2.0 / fan_out as f32).sqrt();
            (0..count).map(|_| deviation * normal(random)).collect()
        }
    }
}

/// Makes filter i copy channel i, for as many filters as there are channels.
fn pass_through(filters: &mut [f32], shape: &[usize]) {
    let &[outputs, inputs, height, width] = shape else { return };
    for channel in 0..inputs.min(outputs) {
        let filter = &mut filters[channel * inputs * height * width..][..inputs * height * width];
        filter.fill(0.0);
        filter[(channel * height + height / 2) * width + width / 2] = 1.0;
    }
}

/// One draw from the standard normal distribution (Box and Muller 1958).
pub(crate) fn normal(random: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * random.random::<f64>()).cos()) as f32
}

/// Brings a tensor from file order to memory order.
pub fn to_memory(spec: &ParameterSpec, file: &[f32]) -> Vec<f32> {
    let mut memory = vec![0.0; file.len()];
    for_each_place(spec, |in_memory, in_file| memory[in_memory] = file[in_file]);
    memory
}

/// Brings a tensor from memory order to file order.
pub fn to_file(spec: &ParameterSpec, memory: &[f32]) -> Vec<f32> {
    let mut file = vec![0.0; memory.len()];
    for_each_place(spec, |in_memory, in_file| file[in_file] = memory[in_memory]);
    file
}

/// Visits every number's place in memory and in the file. Both orders are `[a, b, c]` and `[c, b, a]`-like
/// permutations of three axes, with memory counted up.
fn for_each_place(spec: &ParameterSpec, mut visit: impl FnMut(usize, usize)) {
    // Sizes of the axes from the outermost in memory, and each one's step in the file.
    let (sizes, steps) = match spec.layout {
        Layout::Plain => ([1, 1, spec.len()], [0, 0, 1]),
        Layout::Filters => {
            let (outputs, inputs) = (spec.shape[0], spec.shape[1]);
            let window = spec.shape[2] * spec.shape[3];
            ([window, inputs, outputs], [1, window, window * inputs])
        }
        Layout::Matrix { pixels } => {
            let (outputs, inputs) = (spec.shape[0], spec.shape[1]);
            ([pixels, inputs / pixels, outputs], [1, pixels, inputs])
        }
        Layout::Map => {
            let (channels, pixels) = (spec.shape[0], spec.shape[1] * spec.shape[2]);
            ([1, pixels, channels], [0, 1, pixels])
        }
    };
    let mut in_memory = 0;
    for a in 0..sizes[0] {
        for b in 0..sizes[1] {
            for c in 0..sizes[2] {
                visit(in_memory, a * steps[0] + b * steps[1] + c * steps[2]);
                in_memory += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::ImageShape,
        model::{
            ModelConfig, build,
            graph::{Convolution, Window},
        },
    };

    fn graph(name: &str) -> Graph {
        let input = ImageShape { height: 9, width: 10, channels: 3 };
        build(name, &ModelConfig { input, classes: 4, hidden: 5, per_pixel: true, conventions: None }).expect("builds")
    }

    #[test]
    fn file_order_survives_the_way_through_memory() {
        for name in ["softmax", "mlp", "cnn", "resnet18"] {
            for spec in &graph(name).parameters {
                let file: Vec<f32> = (0..spec.len()).map(|i| i as f32).collect();
                assert_eq!(to_file(spec, &to_memory(spec, &file)), file, "{name} {}", spec.name);
            }
        }
    }

    #[test]
    fn a_flattened_map_is_channels_first_in_files() {
        let graph = graph("softmax");
        let spec = graph.parameters.iter().find(|p| p.name == "fc.weight").expect("is there");
        let file: Vec<f32> = (0..spec.len()).map(|i| i as f32).collect();
        let memory = to_memory(spec, &file);
        // class 1, channel 2, row 3, column 4
        assert_eq!(memory[((3 * 10 + 4) * 3 + 2) * 4 + 1], file[270 + (2 * 9 + 3) * 10 + 4]);
    }

    #[test]
    fn depthwise_weights_are_torchs_in_files() {
        let input = ImageShape { height: 9, width: 9, channels: 3 };
        let (mut graph, images) = Graph::new("depthwise", input, false);
        let convolution = Convolution::depthwise(3, Window::same(5, 1));
        graph.convolution("c", images, convolution, Init::UniformFanIn).expect("fits");
        let spec = graph.parameters.iter().find(|p| p.name == "c.weight").expect("is there");
        assert_eq!(spec.shape, [3, 1, 5, 5]);
        let file: Vec<f32> = (0..spec.len()).map(|i| i as f32).collect();
        let memory = to_memory(spec, &file);
        // row 3, column 2, channel 1
        assert_eq!(memory[(3 * 5 + 2) * 3 + 1], file[(5 + 3) * 5 + 2]);
        assert_eq!(to_file(spec, &memory), file);
    }

    #[test]
    fn a_seed_decides_every_number() {
        let graph = graph("resnet18");
        assert_eq!(Parameters::initialize(&graph, 1), Parameters::initialize(&graph, 1));
        assert_ne!(Parameters::initialize(&graph, 1), Parameters::initialize(&graph, 2));
    }

    #[test]
    fn softmax_begins_at_zero() {
        let graph = graph("softmax");
        let parameters = Parameters::initialize(&graph, 7);
        assert!(parameters.get(&graph, "fc.weight").expect("is there").iter().all(|&w| w == 0.0));
    }

    #[test]
    fn names_and_shapes_are_torchvisions_and_timms() {
        let input = ImageShape { height: 224, width: 224, channels: 3 };
        let config = ModelConfig { input, classes: 1000, hidden: 0, per_pixel: false, conventions: None };
        // Parameters without the normalisation's and the running statistics, as torchvision's documentation lists them.
        for (name, count, tensors, one) in [
            ("resnet18", 11_689_512, 122, "layer2.0.downsample.1.running_var"),
            ("resnet34", 21_797_672, 218, "layer2.0.downsample.1.running_var"),
            ("resnet50", 25_557_032, 320, "layer2.0.downsample.1.running_var"),
            ("mobilenet_v3_large", 5_483_032, 312, "blocks.4.1.se.conv_expand.bias"),
            ("convnext_tiny", 28_589_128, 182, "stages.3.blocks.2.gamma"),
        ] {
            let graph = build(name, &config).expect("builds");
            assert_eq!(graph.trained_parameters(), count, "{name}");
            // Their state dicts also count `num_batches_tracked`, once a norm.
            let norms = graph.nodes.iter().filter(|n| n.op.is_batch_norm()).count();
            assert_eq!(graph.parameters.len() - 2 + norms, tensors, "{name}");
            assert!(graph.parameters.iter().any(|p| p.name == one), "{name}");
        }
    }
}
