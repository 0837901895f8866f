//! Matrix products and linear layers of any shape and layout against the reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept_fuzz::{
    Choices,
    common::{Random, assert_close, widen},
    on_each_isa,
};
use percept_kernels::{Layout, LinearShape, gemm, linear, linear_input_gradient, linear_weight_gradient, reference};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let largest = choices.pick(&[9, 70, 300, 2000]);
    let [m, n, k] = [0; 3].map(|_| choices.size(0, largest));
    if m * n * k > 1_000_000 || m * k + k * n + m * n > 200_000 {
        return;
    }
    let [a_layout, b_layout] = [0; 2].map(|_| choices.pick(&[Layout::RowMajor, Layout::Transposed]));
    let accumulate = choices.flip();
    let mut random = Random::new(choices.size(0, 255) as u64);
    let [a, b, c] = [m * k, k * n, m * n].map(|length| random.values(length));
    let [wide_a, wide_b, mut expected] = [&a, &b, &c].map(|values| widen(values));
    reference::gemm(m, n, k, &wide_a, a_layout, &wide_b, b_layout, accumulate, &mut expected);
    let scale = (k as f64).sqrt();
    on_each_isa(|isa| {
        let mut actual = if accumulate { c.clone() } else { vec![f32::NAN; m * n] };
        gemm(m, n, k, &a, a_layout, &b, b_layout, accumulate, &mut actual);
        let what = format!("{m}x{n}x{k} {a_layout:?} {b_layout:?} {isa}");
        assert_close(&what, &actual, &expected, scale, 1e-6);
    });
    let Ok(shape) = LinearShape::new(m, k, n) else { return };
    let bias = random.values(n);
    let (x, w, y) = (&a, &b, &c);
    let [wide_x, wide_w, wide_y, wide_bias] = [x, w, y, &bias].map(|values| widen(values));
    let [mut output, mut x_gradient, mut w_gradient] = [m * n, m * k, k * n].map(|length| vec![0.0; length]);
    reference::linear(&shape, &wide_x, &wide_w, Some(&wide_bias), &mut output);
    reference::linear_input_gradient(&shape, &wide_y, &wide_w, &mut x_gradient);
    reference::linear_weight_gradient(&shape, &wide_x, &wide_y, &mut w_gradient);
    on_each_isa(|isa| {
        let what = format!("{shape:?} {isa}");
        let [mut actual, mut of_x, mut of_w] = [m * n, m * k, k * n].map(|length| vec![f32::NAN; length]);
        linear(&shape, x, w, Some(&bias), &mut actual);
        assert_close(&what, &actual, &output, scale, 1e-6);
        linear_input_gradient(&shape, y, w, &mut of_x);
        assert_close(&what, &of_x, &x_gradient, (n as f64).sqrt(), 1e-6);
        linear_weight_gradient(&shape, x, y, &mut of_w);
        assert_close(&what, &of_w, &w_gradient, (m as f64).sqrt(), 1e-6);
    });
});
