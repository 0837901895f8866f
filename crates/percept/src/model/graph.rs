//! A network as a graph: described first, run afterwards.
//!
//! A [`Graph`] lists operations in the order in which they run, with the shapes that flow between them and the
//! parameters that they own. The batch size stays open. It holds no numbers: `parameters` does, and `ops` runs it.

use super::{Conventions, ModelConfig};
use crate::{Error, Result, image::ImageShape};

/// The values of one image between two operations; the batch comes on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A feature map. In memory the channels are innermost.
    Map {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A vector of features or logits.
    Vector(usize),
}

impl Shape {
    /// Numbers an image has here.
    pub fn len(self) -> usize {
        match self {
            Self::Map { channels, height, width } => channels * height * width,
            Self::Vector(features) => features,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Channels of a map, features of a vector: what a norm works on.
    pub fn channels(self) -> usize {
        match self {
            Self::Map { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }

    /// Height and width of a map, 1 each for a vector.
    pub fn size(self) -> [usize; 2] {
        match self {
            Self::Map { height, width, .. } => [height, width],
            Self::Vector(_) => [1, 1],
        }
    }

    /// Height times width of a map, 1 for a vector.
    pub fn pixels(self) -> usize {
        self.len().checked_div(self.channels()).unwrap_or(0)
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Map { channels, height, width } => write!(f, "[?, {channels}, {height}, {width}]"),
            Self::Vector(features) => write!(f, "[?, {features}]"),
        }
    }
}

/// What a node computes from its inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The batch of images, u8.
    Input,
    /// `(image - mean) / deviation`: the preprocessing, part of the model.
    Normalize {
        /// One mean and deviation a pixel instead of one a channel.
        per_pixel: bool,
    },
    /// Cross-correlation with a square kernel.
    Conv2d {
        /// Side of the kernel.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// Zeros around the image: above and below, left and right.
        padding: [[usize; 2]; 2],
        /// Pixels from one place of the kernel to the next.
        dilation: usize,
        /// Parts that the channels of input and output are cut into; each part of the output sees its part of the input.
        groups: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation (Ioffe and Szegedy 2015).
    BatchNorm {
        /// What is added to the variance before its root is taken.
        epsilon: f32,
    },
    /// Normalisation over the channels of each pixel (Ba, Kiros and Hinton 2016).
    LayerNorm {
        /// What is added to the variance before its root is taken.
        epsilon: f32,
    },
    /// A trained factor for each channel (Touvron et al. 2021).
    LayerScale,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x min(max(x + 3, 0), 6) / 6` (Howard et al. 2019).
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6` (Howard et al. 2019).
    HardSigmoid,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// Gaussian error linear unit (Hendrycks and Gimpel 2016).
    Gelu,
    /// Sum of two inputs.
    Add,
    /// A feature map times a vector, which has a factor for each of its channels (Hu et al. 2018).
    Gate,
    /// Largest value of each window.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// Padding that never wins.
        padding: usize,
    },
    /// Mean over all pixels.
    GlobalAveragePool,
    /// Largest value over all pixels.
    GlobalMaxPool,
    /// Channels, rows and columns in one vector, channels outermost as in torch.
    Flatten,
    /// `input × weight + bias`.
    Linear,
    /// Multiplication by a constant.
    Scale(f32),
}

impl Op {
    /// The operation's name for people.
    pub fn label(&self) -> String {
        match self {
            Self::Input => "input".into(),
            Self::Normalize { per_pixel: false } => "normalize".into(),
            Self::Normalize { per_pixel: true } => "normalize per pixel".into(),
            &Self::Conv2d { kernel, stride, dilation, groups, .. } => {
                let mut label = format!("conv {kernel}x{kernel}");
                for (number, before, after) in
                    [(stride, " / ", ""), (dilation, ", dilation ", ""), (groups, ", ", " groups")]
                {
                    if number > 1 {
                        label += &format!("{before}{number}{after}");
                    }
                }
                label
            }
            Self::BatchNorm { .. } => "batch norm".into(),
            Self::LayerNorm { .. } => "layer norm".into(),
            Self::LayerScale => "layer scale".into(),
            Self::Relu => "relu".into(),
            Self::Relu6 => "relu6".into(),
            Self::HardSwish => "hard swish".into(),
            Self::HardSigmoid => "hard sigmoid".into(),
            Self::Silu => "silu".into(),
            Self::Gelu => "gelu".into(),
            Self::Add => "add".into(),
            Self::Gate => "gate".into(),
            Self::MaxPool { kernel, stride, .. } => format!("max pool {kernel}x{kernel} / {stride}"),
            Self::GlobalAveragePool => "global average pool".into(),
            Self::GlobalMaxPool => "global max pool".into(),
            Self::Flatten => "flatten".into(),
            Self::Linear => "linear".into(),
            Self::Scale(factor) => format!("scale by {factor:.4}"),
        }
    }

    /// Whether it is a batch norm, whatever its epsilon.
    pub fn is_batch_norm(&self) -> bool {
        matches!(self, Self::BatchNorm { .. })
    }

    /// Whether it bends every value by itself.
    pub fn is_activation(&self) -> bool {
        matches!(self, Self::Relu | Self::Relu6 | Self::HardSwish | Self::HardSigmoid | Self::Silu | Self::Gelu)
    }
}

/// What a parameter is for, which decides who changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weights of a convolution or a linear layer: the optimiser updates and decays them.
    Weight,
    /// Biases and the shift of a norm: updated, never decayed.
    Bias,
    /// The scale of a norm, and layer scale: updated, never decayed.
    Scale,
    /// Running statistics of a norm: updated by the forward pass.
    Statistic,
    /// Set before training and left alone.
    Fixed,
}

impl Role {
    /// Whether the optimiser updates it.
    pub fn is_trained(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::Scale)
    }
}

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// All this.
    Constant(f32),
    /// Normal with this deviation.
    Normal(f32),
    /// Normal with deviation `sqrt(2 / fan_out)` (He et al. 2015, as torchvision's ResNets).
    KaimingNormalFanOut,
    /// Uniform within `1 / sqrt(fan_in)` (torch's default for linear and convolution layers).
    UniformFanIn,
    /// The first filters pass their channel through, the others are [`Init::UniformFanIn`] (airbench, Jordan 2024). Not for
    /// groups.
    Dirac,
    /// Eigenvectors of the covariance of training patches, scaled to unit variance, and their negatives.
    Whitening,
}

/// How a parameter's numbers lie in memory, where channels are innermost, against the order in files, which is torch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As in files.
    Plain,
    /// `[kernel, kernel, in / groups, out]` for the file's `[out, in / groups, kernel, kernel]`.
    Filters,
    /// `[in, out]` for the file's `[out, in]`. Where the input is a flattened map, `pixels` is its height times its
    /// width: memory then counts features pixel by pixel, the file channel by channel. Otherwise it is 1.
    Matrix {
        /// Pixels of the flattened map, or 1.
        pixels: usize,
    },
    /// `[height, width, channels]` for the file's `[channels, height, width]`.
    Map,
}

/// A parameter's name, shape and beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// `<node>.weight` and so on, as torchvision names it.
    pub name: String,
    /// Shape in files, as torch has it: `[out, in / groups, kernel, kernel]`, `[out, in]`, `[features]`.
    pub shape: Vec<usize>,
    /// How memory orders it.
    pub layout: Layout,
    /// What it is for.
    pub role: Role,
    /// How it begins.
    pub init: Init,
}

impl ParameterSpec {
    /// Numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, which its parameters carry too.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Indices of the nodes it reads.
    pub inputs: Vec<usize>,
    /// What it gives for one image.
    pub shape: Shape,
    /// Indices into [`Graph::parameters`].
    pub parameters: Vec<usize>,
    /// Multiplications with an addition, for one image, forward.
    pub multiply_adds: u64,
}

/// A network's description. Node 0 is the input; the last node gives the logits.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// The images it takes.
    pub input: ImageShape,
    /// What its weights expect.
    pub conventions: Conventions,
    /// The operations, in running order.
    pub nodes: Vec<Node>,
    /// The parameters, in the order of the nodes.
    pub parameters: Vec<ParameterSpec>,
}

/// The largest window that pooling takes.
const LARGEST_POOL: usize = 16;

/// Where a value is in the graph.
pub type Value = usize;

impl Graph {
    /// Begins a graph with its input and the normalisation.
    pub fn new(name: &str, input: ImageShape, per_pixel: bool) -> (Self, Value) {
        let conventions = Conventions::usual(name);
        let mut graph = Self { name: name.into(), input, conventions, nodes: Vec::new(), parameters: Vec::new() };
        let shape = Shape::Map { channels: input.channels, height: input.height, width: input.width };
        let images = graph.push("images", Op::Input, vec![], shape, 0);
        let normalized = graph.push("normalize", Op::Normalize { per_pixel }, vec![images], shape, shape.len() as u64);
        let (statistics, layout) = if per_pixel {
            (vec![input.channels, input.height, input.width], Layout::Map)
        } else {
            (vec![input.channels], Layout::Plain)
        };
        graph.parameter(normalized, "mean", statistics.clone(), layout, Role::Fixed, Init::Zeros);
        graph.parameter(normalized, "deviation", statistics, layout, Role::Fixed, Init::Ones);
        (graph, normalized)
    }

    /// Begins the graph of a model as its architecture asks.
    pub fn of(name: &str, config: &ModelConfig) -> (Self, Value) {
        let (mut graph, images) = Self::new(name, config.input, config.per_pixel);
        graph.conventions = config.conventions.unwrap_or(graph.conventions);
        (graph, images)
    }

    /// Refuses images that are smaller than the network's stride, of which it would see less than one place.
    ///
    /// # Errors
    /// A side of the input below `stride`.
    pub fn require_side(&self, stride: usize) -> Result<()> {
        match self.input.height.min(self.input.width) {
            side if side < stride => {
                Err(self.refuse("images", &format!("a stride of {stride} needs sides of {stride} at least")))
            }
            _ => Ok(()),
        }
    }

    /// Adds a plain convolution without bias. `init` sets its weights.
    pub fn conv2d(&mut self, name: &str, input: Value, filters: usize, window: Window, init: Init) -> Result<Value> {
        self.convolution(name, input, Convolution::new(filters, window), init)
    }

    /// Adds a convolution of any kind. `init` sets its weights; a bias begins at zero. A vector is an image of one pixel,
    /// which kernels of 1x1 fit and make a vector of.
    pub fn convolution(&mut self, name: &str, input: Value, convolution: Convolution, init: Init) -> Result<Value> {
        let Convolution { filters, kernel, stride, padding, dilation, groups, bias } = convolution;
        let (channels, height, width) = match self.nodes[input].shape {
            Shape::Map { channels, height, width } => (channels, height, width),
            // The order of a flattened map's features differs between memory and files; only linear layers know.
            Shape::Vector(channels) if kernel == 1 && self.nodes[input].op != Op::Flatten => (channels, 1, 1),
            Shape::Vector(_) => return Err(self.refuse(name, "a convolution needs a feature map")),
        };
        if filters == 0 {
            return Err(self.refuse(name, "a convolution needs a filter"));
        }
        if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            let why = format!("{channels} channels and {filters} filters cannot both be cut into {groups} groups");
            return Err(self.refuse(name, &why));
        }
        let (height, width) = self.slide(name, [height, width], kernel, stride, padding, dilation)?;
        let shape = match self.nodes[input].shape {
            Shape::Map { .. } => Shape::Map { channels: filters, height, width },
            Shape::Vector(_) if height * width == 1 => Shape::Vector(filters),
            Shape::Vector(_) => return Err(self.refuse(name, "a vector has no room for padding")),
        };
        let seen = channels / groups;
        let multiply_adds = (shape.len() * seen * kernel * kernel) as u64;
        let op = Op::Conv2d { kernel, stride, padding, dilation, groups, bias };
        let node = self.push(name, op, vec![input], shape, multiply_adds);
        let role = if init == Init::Whitening { Role::Fixed } else { Role::Weight };
        self.parameter(node, "weight", vec![filters, seen, kernel, kernel], Layout::Filters, role, init);
        if bias {
            self.parameter(node, "bias", vec![filters], Layout::Plain, Role::Bias, Init::Zeros);
        }
        Ok(node)
    }

    /// Adds a batch norm with the epsilon of the graph's conventions; `scale` is [`Role::Scale`], or [`Role::Fixed`] where the scale stays
    /// one.
    pub fn batch_norm(&mut self, name: &str, input: Value, scale: Role) -> Value {
        self.batch_norm_with(name, input, scale, self.conventions.epsilon)
    }

    /// [`Graph::batch_norm`] with another epsilon.
    pub fn batch_norm_with(&mut self, name: &str, input: Value, scale: Role, epsilon: f32) -> Value {
        let shape = self.nodes[input].shape;
        let node = self.push(name, Op::BatchNorm { epsilon }, vec![input], shape, shape.len() as u64);
        let features = vec![shape.channels()];
        self.parameter(node, "weight", features.clone(), Layout::Plain, scale, Init::Ones);
        self.parameter(node, "bias", features.clone(), Layout::Plain, Role::Bias, Init::Zeros);
        self.parameter(node, "running_mean", features.clone(), Layout::Plain, Role::Statistic, Init::Zeros);
        self.parameter(node, "running_var", features, Layout::Plain, Role::Statistic, Init::Ones);
        node
    }

    /// Adds a norm over the channels of each pixel.
    pub fn layer_norm(&mut self, name: &str, input: Value, epsilon: f32) -> Value {
        let shape = self.nodes[input].shape;
        let node = self.push(name, Op::LayerNorm { epsilon }, vec![input], shape, shape.len() as u64);
        let features = vec![shape.channels()];
        self.parameter(node, "weight", features.clone(), Layout::Plain, Role::Scale, Init::Ones);
        self.parameter(node, "bias", features, Layout::Plain, Role::Bias, Init::Zeros);
        node
    }

    /// Adds a trained factor for each channel, `<name>.gamma`.
    pub fn layer_scale(&mut self, name: &str, input: Value, init: Init) -> Value {
        let shape = self.nodes[input].shape;
        let node = self.push(name, Op::LayerScale, vec![input], shape, shape.len() as u64);
        self.parameter(node, "gamma", vec![shape.channels()], Layout::Plain, Role::Scale, init);
        node
    }

    /// Adds `max(x, 0)`.
    pub fn relu(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::Relu, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds `min(max(x, 0), 6)`.
    pub fn relu6(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::Relu6, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds `x min(max(x + 3, 0), 6) / 6`.
    pub fn hard_swish(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::HardSwish, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds `min(max(x + 3, 0), 6) / 6`.
    pub fn hard_sigmoid(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::HardSigmoid, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds `x / (1 + e^-x)`.
    pub fn silu(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::Silu, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds a Gaussian error linear unit.
    pub fn gelu(&mut self, name: &str, input: Value) -> Value {
        self.push(name, Op::Gelu, vec![input], self.nodes[input].shape, 0)
    }

    /// Adds the sum of two values of one shape.
    pub fn add(&mut self, name: &str, left: Value, right: Value) -> Result<Value> {
        let (a, b) = (self.nodes[left].shape, self.nodes[right].shape);
        if a != b {
            return Err(self.refuse(name, &format!("cannot add {a} and {b}")));
        }
        Ok(self.push(name, Op::Add, vec![left, right], a, 0))
    }

    /// Adds the product of a feature map and a vector with a factor for each of its channels.
    pub fn gate(&mut self, name: &str, map: Value, factors: Value) -> Result<Value> {
        let (shape, vector) = (self.nodes[map].shape, self.nodes[factors].shape);
        if vector != Shape::Vector(shape.channels()) {
            return Err(self.refuse(name, &format!("{vector} has no factor for each channel of {shape}")));
        }
        Ok(self.push(name, Op::Gate, vec![map, factors], shape, shape.len() as u64))
    }

    /// Adds a max pooling.
    pub fn max_pool(&mut self, name: &str, input: Value, window: Window) -> Result<Value> {
        let Shape::Map { channels, height, width } = self.nodes[input].shape else {
            return Err(self.refuse(name, "pooling needs a feature map"));
        };
        if window.kernel > LARGEST_POOL || window.padding > window.kernel / 2 {
            let why = format!(
                "pooling takes windows up to {LARGEST_POOL} and pads half of them at most, not {} and {}",
                window.kernel, window.padding
            );
            return Err(self.refuse(name, &why));
        }
        let Window { kernel, stride, padding } = window;
        let (height, width) = self.slide(name, [height, width], kernel, stride, [[padding; 2]; 2], 1)?;
        let op = Op::MaxPool { kernel, stride, padding };
        Ok(self.push(name, op, vec![input], Shape::Map { channels, height, width }, 0))
    }

    /// Adds the mean over all pixels.
    pub fn global_average_pool(&mut self, name: &str, input: Value) -> Value {
        let channels = self.nodes[input].shape.channels();
        self.push(name, Op::GlobalAveragePool, vec![input], Shape::Vector(channels), 0)
    }

    /// Adds the largest value over all pixels.
    pub fn global_max_pool(&mut self, name: &str, input: Value) -> Value {
        let channels = self.nodes[input].shape.channels();
        self.push(name, Op::GlobalMaxPool, vec![input], Shape::Vector(channels), 0)
    }

    /// Makes one vector of a feature map.
    pub fn flatten(&mut self, name: &str, input: Value) -> Value {
        let features = self.nodes[input].shape.len();
        self.push(name, Op::Flatten, vec![input], Shape::Vector(features), 0)
    }

    /// Adds a linear layer with bias; `init` sets the weights, and the bias where it is uniform.
    pub fn linear(&mut self, name: &str, input: Value, outputs: usize, init: Init) -> Result<Value> {
        let Shape::Vector(inputs) = self.nodes[input].shape else {
            return Err(self.refuse(name, "a linear layer needs a vector"));
        };
        if outputs == 0 {
            return Err(self.refuse(name, "a linear layer needs an output"));
        }
        let macs = (inputs * outputs) as u64;
        let node = self.push(name, Op::Linear, vec![input], Shape::Vector(outputs), macs);
        let pixels = match self.nodes[input].op {
            Op::Flatten => self.nodes[self.nodes[input].inputs[0]].shape.pixels(),
            _ => 1,
        };
        self.parameter(node, "weight", vec![outputs, inputs], Layout::Matrix { pixels }, Role::Weight, init);
        self.parameter(node, "bias", vec![outputs], Layout::Plain, Role::Bias, Init::Zeros);
        Ok(node)
    }

    /// Adds a multiplication by a constant.
    pub fn scale(&mut self, name: &str, input: Value, factor: f32) -> Value {
        self.push(name, Op::Scale(factor), vec![input], self.nodes[input].shape, 0)
    }

    /// The network up to its classifier: what the last linear layer reads.
    ///
    /// # Errors
    /// A network that does not end with a linear layer.
    pub fn without_classifier(&self) -> Result<Self> {
        let mut graph = self.clone();
        let Some((classifier, _)) = self.classifier() else {
            return Err(Error::invalid(format!("{} does not end with a linear layer", self.name), ""));
        };
        graph.nodes.truncate(classifier);
        graph.parameters.truncate(graph.parameters.len() - self.nodes[classifier].parameters.len());
        Ok(graph)
    }

    /// The linear layer at the end, and what its outputs are multiplied by.
    pub fn classifier(&self) -> Option<(Value, f32)> {
        let mut factor = 1.0;
        for (value, node) in self.nodes.iter().enumerate().rev() {
            match node.op {
                Op::Scale(by) => factor *= by,
                Op::Linear => return Some((value, factor)),
                _ => return None,
            }
        }
        None
    }

    /// The value that the last linear layer reads: what a network has made of an image before it names a class. None where
    /// these are the pixels themselves.
    pub fn features(&self) -> Option<Value> {
        let last = self.nodes.iter().rfind(|node| node.op == Op::Linear)?;
        let mut value = last.inputs[0];
        while self.nodes[value].op == Op::Flatten {
            value = self.nodes[value].inputs[0];
        }
        (!matches!(self.nodes[value].op, Op::Input | Op::Normalize { .. })).then_some(value)
    }

    /// Fixes a share of the parameters, from the first on; the last layer always learns.
    pub fn freeze(&mut self, share: f64) {
        let last = self.classifier().map_or(0, |(node, _)| self.nodes[node].parameters.len());
        let free = self.parameters.len() - last;
        let count = (share * free as f64).round() as usize;
        self.parameters.iter_mut().take(count).for_each(|spec| spec.role = Role::Fixed);
    }

    /// Classes that the logits speak of.
    pub fn classes(&self) -> usize {
        self.nodes.last().map_or(0, |node| node.shape.len())
    }

    /// Multiply-adds of one image, forward.
    pub fn multiply_adds(&self) -> u64 {
        self.nodes.iter().map(|node| node.multiply_adds).sum()
    }

    /// Numbers that the optimiser updates.
    pub fn trained_parameters(&self) -> usize {
        self.parameters.iter().filter(|p| p.role.is_trained()).map(ParameterSpec::len).sum()
    }

    /// Whether it is one linear layer on the pixels, whose weights can be shown as images.
    pub fn is_linear(&self) -> bool {
        !self.nodes.iter().any(|n| matches!(n.op, Op::Conv2d { .. }) || n.op.is_activation())
    }

    /// Whether it has convolutions.
    pub fn is_convolutional(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.op, Op::Conv2d { .. }))
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<Value>, shape: Shape, multiply_adds: u64) -> Value {
        self.nodes.push(Node { name: name.into(), op, inputs, shape, parameters: Vec::new(), multiply_adds });
        self.nodes.len() - 1
    }

    fn parameter(&mut self, node: Value, part: &str, shape: Vec<usize>, layout: Layout, role: Role, init: Init) {
        let name = format!("{}.{part}", self.nodes[node].name);
        self.nodes[node].parameters.push(self.parameters.len());
        self.parameters.push(ParameterSpec { name, shape, layout, role, init });
    }

    /// Height and width that a window leaves.
    fn slide(
        &self,
        name: &str,
        size: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: [[usize; 2]; 2],
        dilation: usize,
    ) -> Result<(usize, usize)> {
        let reach = (kernel.max(1) - 1) * dilation;
        let side = |length: usize, [before, behind]: [usize; 2]| {
            let fits = kernel > 0 && stride > 0 && dilation > 0;
            (length + before + behind).checked_sub(reach + 1).filter(|_| fits).map(|rest| rest / stride + 1)
        };
        match (side(size[0], padding[0]), side(size[1], padding[1])) {
            (Some(height), Some(width)) => Ok((height, width)),
            _ => {
                Err(self.refuse(name, &format!("a window of {} does not fit into {}x{}", reach + 1, size[0], size[1])))
            }
        }
    }

    pub(super) fn refuse(&self, node: &str, why: &str) -> Error {
        let ImageShape { height, width, .. } = self.input;
        Error::invalid(
            format!("model {} cannot take images of {height}x{width}: {node}: {why}", self.name),
            "choose a larger --image-size, or another --model",
        )
    }
}

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Padding on every side.
    pub padding: usize,
}

impl Window {
    /// A window that keeps height and width at stride 1, for odd kernels.
    pub fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2 }
    }

    /// A window without padding.
    pub fn valid(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: 0 }
    }
}

/// A convolution of any kind; see [`Op::Conv2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of the output.
    pub filters: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros around the image: above and below, left and right.
    pub padding: [[usize; 2]; 2],
    /// Pixels from one place of the kernel to the next.
    pub dilation: usize,
    /// Parts that the channels are cut into.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Convolution {
    /// A plain convolution without bias.
    pub fn new(filters: usize, window: Window) -> Self {
        let Window { kernel, stride, padding } = window;
        Self { filters, kernel, stride, padding: [[padding; 2]; 2], dilation: 1, groups: 1, bias: false }
    }

    /// A kernel for each channel.
    pub fn depthwise(channels: usize, window: Window) -> Self {
        Self { groups: channels, ..Self::new(channels, window) }
    }

    /// The same with a bias.
    #[must_use]
    pub fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> (Graph, Value) {
        Graph::new("test", ImageShape { height: 5, width: 4, channels: 3 }, false)
    }

    #[test]
    fn windows_that_cannot_be_are_refused_and_leave_the_graph_as_it_was() {
        let (mut graph, x) = graph();
        for window in [Window::valid(0, 1), Window::valid(2, 0), Window::valid(5, 1)] {
            assert!(graph.conv2d("conv", x, 2, window, Init::UniformFanIn).is_err(), "{window:?}");
            assert!(graph.max_pool("pool", x, window).is_err(), "{window:?}");
        }
        for (kernel, padding) in [(2, 2), (3, 2), (1, 1), (17, 8)] {
            let error = graph.max_pool("pool", x, Window { kernel, stride: 1, padding }).expect_err("cannot be");
            let why =
                format!("pooling takes windows up to 16 and pads half of them at most, not {kernel} and {padding}");
            assert_eq!(error.to_string(), format!("model test cannot take images of 5x4: pool: {why}"));
        }
        assert!(graph.conv2d("conv", x, 0, Window::valid(1, 1), Init::UniformFanIn).is_err(), "no filters");
        let vector = graph.global_average_pool("vector", x);
        assert!(graph.linear("linear", vector, 0, Init::UniformFanIn).is_err(), "no outputs");
        let padded = Window { padding: 1, ..Window::valid(1, 1) };
        assert!(graph.conv2d("conv", vector, 2, padded, Init::UniformFanIn).is_err(), "padding of a vector");
        assert!(graph.conv2d("conv", vector, 2, Window::valid(1, 1), Init::UniformFanIn).is_ok());
        assert_eq!(graph.nodes.len(), 4);
    }
}
