//! In the steady state no buffer above 4 KiB is allocated anew: what a call needs is kept from the call before.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use percept_kernels::{
    Activation, Algorithm, BlockLayer, ConvShape, InvertedResidual, Isa, Layout, LinearShape, NormShape, PoolShape,
    Precision, PreparedConv, Targets, batch_norm_gradient, batch_norm_infer, batch_norm_train, channel_gate,
    channel_gate_gradient, channel_sums, conv2d, conv2d_fused, conv2d_input_gradient, conv2d_weight_gradient,
    conv2d_with_statistics, gemm, layer_norm, layer_norm_gradient, linear, linear_input_gradient,
    linear_weight_gradient, max_pool, max_pool_gradient, newton_schulz, normalize, softmax_cross_entropy, square_sum,
};

/// The system's allocator, which remembers the largest request.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        LARGEST.fetch_max(memory.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Memory) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, memory) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, memory: Memory, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, memory, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// One call of everything that works in scratch memory.
struct Work {
    big: Vec<f32>,
    other: Vec<f32>,
    result: Vec<f32>,
    small: [Vec<f32>; 6],
    bytes: Vec<u8>,
    argmax: Vec<u8>,
    labels: Vec<u32>,
    prepared: Vec<PreparedConv>,
    /// The layers of an inverted residual.
    block: Vec<PreparedConv>,
}

impl Work {
    fn convolve(&mut self, shape: &ConvShape) {
        let (inputs, outputs) = (shape.input_len(), shape.output_len());
        let (input, weights) = (&self.big[..inputs], &self.other[..shape.weights_len()]);
        conv2d(shape, input, weights, Some(&self.small[0][..shape.out_channels]), &mut self.result[..outputs]);
        conv2d_input_gradient(shape, &self.other[..outputs], weights, &mut self.result[..inputs]);
        let gradient = &mut self.result[..shape.weights_len()];
        conv2d_weight_gradient(shape, input, &self.other[..outputs], gradient);
        let (residual, output) = (Some(&self.other[..outputs]), &mut self.result[..outputs]);
        conv2d_fused(shape, input, weights, None, residual, Activation::Silu, output);
        let [mean, variance, ..] = self.small.each_mut().map(|values| &mut values[..shape.out_channels]);
        conv2d_with_statistics(shape, input, weights, None, output, mean, variance);
    }

    fn run(&mut self) {
        for (groups, outs) in [(32, 32), (4, 48)] {
            let shape = ConvShape::new([4, 16, 16, 32], outs, [3, 3], 2, 1).and_then(|shape| shape.with_groups(groups));
            self.convolve(&shape.expect("a shape"));
        }
        for (algorithm, input, out_channels, stride) in [
            (Algorithm::Direct, [4, 16, 16, 32], 48, 1),
            (Algorithm::Direct, [4, 16, 16, 32], 48, 2),
            (Algorithm::Direct, [4, 32, 32, 3], 32, 1),
            (Algorithm::Shallow, [4, 32, 32, 3], 32, 1),
            (Algorithm::Winograd2, [4, 16, 16, 32], 48, 1),
            (Algorithm::Winograd4, [4, 16, 16, 32], 48, 1),
            (Algorithm::Winograd4, [4, 15, 15, 3], 5, 1),
        ] {
            let shape = ConvShape::new(input, out_channels, [3, 3], stride, 1).expect("a shape");
            algorithm.run(|| self.convolve(&shape));
        }
        for stride in [1, 2] {
            let shape = ConvShape::new([4, 16, 16, 32], 48, [3, 3], stride, 1).expect("a shape");
            Precision::Bf16.run(|| Algorithm::Padded.run(|| self.convolve(&shape)));
        }
        for prepared in &self.prepared {
            prepared.run(2, &self.big[..16_384], None, Activation::Relu, &mut self.result[..24_576]);
        }
        if let [expand, depthwise, project] = &self.block[..] {
            let layer = |convolution| BlockLayer { convolution, activation: Activation::Silu };
            let (expand, depthwise, project) = (Some(layer(expand)), layer(depthwise), layer(project));
            for batch in [1, 4] {
                let (input, output) = (&self.big[..batch * 4096], &mut self.result[..batch * 6144]);
                InvertedResidual { expand, depthwise, project }.run(batch, input, None, output);
            }
        }
        for [batch, inputs, outputs] in [[100, 1024, 10], [33, 100, 200]] {
            let shape = LinearShape::new(batch, inputs, outputs).expect("a shape");
            let (x, y, w) = (batch * inputs, batch * outputs, inputs * outputs);
            linear(&shape, &self.big[..x], &self.other[..w], None, &mut self.result[..y]);
            linear_input_gradient(&shape, &self.big[..y], &self.other[..w], &mut self.result[..x]);
            linear_weight_gradient(&shape, &self.big[..x], &self.other[..y], &mut self.result[..w]);
        }
        let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
        let (a, b) = (&self.big[..200 * 200], &self.other[..200 * 200]);
        for (a_layout, b_layout) in [(plain, plain), (plain, turned), (turned, plain), (turned, turned)] {
            gemm(200, 200, 200, a, a_layout, b, b_layout, true, &mut self.result[..200 * 200]);
        }
        newton_schulz(64, 300, &mut self.result[..64 * 300], 5);
        newton_schulz(300, 64, &mut self.result[..64 * 300], 5);
        let norm = NormShape::new(2000, 30).expect("a shape");
        let (input, output) = (&self.big[..norm.len()], &mut self.result[..norm.len()]);
        let [scale, shift, mean, variance, first, second] = self.small.each_mut().map(|values| &mut values[..30]);
        batch_norm_train(&norm, input, scale, shift, 1e-5, Activation::Relu, output, mean, variance);
        batch_norm_infer(&norm, input, scale, shift, Activation::Relu, output);
        let gradient = &self.other[..norm.len()];
        output.copy_from_slice(input);
        batch_norm_gradient(
            &norm,
            output,
            mean,
            variance,
            scale,
            shift,
            1e-5,
            Activation::Gelu,
            gradient,
            first,
            second,
        );
        layer_norm(&norm, input, scale, shift, 1e-6, output);
        layer_norm_gradient(&norm, input, scale, 1e-6, gradient, output, first, second);
        channel_gate(1, 2000, 30, input, scale, output);
        channel_gate_gradient(1, 2000, 30, input, scale, output, first);
        channel_sums(2000, 30, input, first);
        square_sum(input);
        let pool = PoolShape::new([4, 32, 32, 10], 3, 2, 1).expect("a shape");
        let (inputs, outputs) = (pool.input_len(), pool.output_len());
        max_pool(&pool, &self.big[..inputs], &mut self.result[..outputs], &mut self.argmax[..outputs]);
        max_pool_gradient(&pool, &self.other[..outputs], &self.argmax[..outputs], &mut self.result[..inputs]);
        normalize(10, 1024, 3, &self.bytes, &[1.0; 3], &[0.0; 3], &mut self.result[..30_720]);
        let targets = Targets::Labels(&self.labels);
        let (losses, gradient) = self.result.split_at_mut(100);
        softmax_cross_entropy(100, 10, &self.big[..1000], targets, 0.1, None, losses, &mut gradient[..1000]);
    }
}

/// One thread, so that which thread gets which task cannot matter. WebAssembly has no other.
fn on_one_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if cfg!(target_family = "wasm") {
        return work();
    }
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread").install(work)
}

#[test]
fn the_second_call_allocates_no_buffer() {
    let values = |length: usize| (0..length).map(|index| (index % 7) as f32 - 3.0).collect::<Vec<_>>();
    let mut work = Work {
        big: values(200_000),
        other: values(200_000),
        result: values(200_000),
        small: [0; 6].map(|_| values(64)),
        bytes: vec![7; 30_720],
        argmax: vec![0; 20_000],
        labels: vec![3; 100],
        prepared: Vec::new(),
        block: Vec::new(),
    };
    let largest = on_one_thread(|| {
        let mut results = Vec::new();
        for isa in Isa::available() {
            isa.run(|| {
                let shape = ConvShape::new([1, 16, 16, 32], 48, [3, 3], 1, 1).expect("a shape");
                let prepare = || PreparedConv::new(shape, values(shape.weights_len()), None);
                work.prepared = [Algorithm::Direct, Algorithm::Winograd4].map(|kept| kept.run(prepare)).into();
                let layers = [(16, 96, 1, 1), (96, 96, 3, 96), (96, 24, 1, 1)];
                let layers = layers.map(|(ins, outs, kernel, groups)| {
                    let shape = ConvShape::new([1, 16, 16, ins], outs, [kernel; 2], 1, kernel / 2);
                    let shape = shape.and_then(|shape| shape.with_groups(groups)).expect("a shape");
                    PreparedConv::new(shape, values(shape.weights_len()), None)
                });
                work.block = layers.into();
                work.run();
                work.run();
                LARGEST.store(0, Ordering::Relaxed);
                work.run();
            });
            results.push((isa, LARGEST.load(Ordering::Relaxed)));
        }
        results
    });
    for (isa, largest) in largest {
        assert!(largest <= 4096, "{isa}: {largest} bytes were allocated at once");
    }
}
