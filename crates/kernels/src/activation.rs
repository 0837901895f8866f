//! Activations and additions, element by element.

use crate::lanes::{exp, multiply_add, per_isa};
use crate::parallel::{CHUNK, for_each_chunk};
use crate::{Element, Isa, assert_len};

/// A function applied to every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// min(max(x, 0), 6); NaN stays NaN.
    Relu6,
    /// x min(max(x + 3, 0), 6) / 6 (Howard et al., 2019, "Searching for MobileNetV3").
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6: the gate of the same paper.
    HardSigmoid,
    /// x / (1 + e^-x), also called swish: within 3e-7 |x| of the exact value.
    Silu,
    /// x Φ(x), the form with the error function (not its tanh approximation): within 3e-7 |x| of the exact value, by
    /// Abramowitz and Stegun 7.1.26. Its derivative is Φ(x) + x φ(x) from the same terms.
    Gelu,
}

impl Activation {
    /// Where it cuts values off, if it does nothing else.
    pub(crate) fn bounds(self) -> Option<[f32; 2]> {
        match self {
            Self::Relu => Some([0.0, f32::INFINITY]),
            Self::Relu6 => Some([0.0, 6.0]),
            _ => None,
        }
    }
}

/// Compiles `work` once for each activation, with the type that stands for it, and runs that of `activation`.
macro_rules! for_activation {
    ($activation:expr, $function:ident => $work:expr) => {
        match $activation {
            crate::Activation::Identity => {
                type $function = crate::activation::Identity;
                $work
            }
            crate::Activation::Relu => {
                type $function = crate::activation::Relu;
                $work
            }
            crate::Activation::Relu6 => {
                type $function = crate::activation::Relu6;
                $work
            }
            crate::Activation::HardSwish => {
                type $function = crate::activation::HardSwish;
                $work
            }
            crate::Activation::HardSigmoid => {
                type $function = crate::activation::HardSigmoid;
                $work
            }
            crate::Activation::Silu => {
                type $function = crate::activation::Silu;
                $work
            }
            crate::Activation::Gelu => {
                type $function = crate::activation::Gelu;
                $work
            }
        }
    };
}
pub(crate) use for_activation;

/// `values = max(values, 0)`, in place. NaN stays NaN.
pub fn relu(values: &mut [f32]) {
    let isa = Isa::current();
    for_each_chunk(CHUNK, [values], [], |[values], []: [&[f32]; 0]| relu_values(isa, values));
}

per_isa!(fn relu_values = relu_body(values: &mut [f32]));

#[inline(always)]
fn relu_body<const M: bool>(values: &mut [f32]) {
    for value in values {
        *value = relu_of(*value);
    }
}

/// Zeroes `gradient` where `output`, the result of [`relu`], is not above zero.
pub fn relu_gradient<E: Element>(output: &[E], gradient: &mut [E]) {
    assert_len("the gradient", gradient.len(), output.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [gradient], [output], |[gradient], [output]| relu_gradients(isa, output, gradient));
}

per_isa!(fn relu_gradients<E> = relu_gradient_body(output: &[E], gradient: &mut [E]));

#[inline(always)]
fn relu_gradient_body<const M: bool, E: Element>(output: &[E], gradient: &mut [E]) {
    for (gradient, &output) in gradient.iter_mut().zip(output) {
        *gradient = if output.value() <= 0.0 { E::default() } else { *gradient };
    }
}

/// `output = activation(input)`
pub fn activate<E: Element>(activation: Activation, input: &[E], output: &mut [E]) {
    assert_len("the output", output.len(), input.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [output], [input], |[output], [input]| activate_values(isa, activation, input, output));
}

per_isa!(fn activate_values<E> = activate_body(activation: Activation, input: &[E], output: &mut [E]));

#[inline(always)]
fn activate_body<const M: bool, E: Element>(activation: Activation, input: &[E], output: &mut [E]) {
    for_activation!(activation, F => {
        for (output, &input) in output.iter_mut().zip(input) {
            *output = E::nearest(F::value::<M>(input.value()));
        }
    });
}

/// Multiplies `gradient` by the derivative of the activation at `input`. Where the derivative is 0, so is the result,
/// whatever the gradient was, with ReLU, ReLU6 and the hard sigmoid.
pub fn activate_gradient<E: Element>(activation: Activation, input: &[E], gradient: &mut [E]) {
    assert_len("the gradient", gradient.len(), input.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [gradient], [input], |[gradient], [input]| {
        activate_gradients(isa, activation, input, gradient);
    });
}

per_isa!(fn activate_gradients<E> = activate_gradient_body(activation: Activation, input: &[E], gradient: &mut [E]));

#[inline(always)]
fn activate_gradient_body<const M: bool, E: Element>(activation: Activation, input: &[E], gradient: &mut [E]) {
    for_activation!(activation, F => {
        for (gradient, &input) in gradient.iter_mut().zip(input) {
            *gradient = E::nearest(F::gradient::<M>(input.value(), gradient.value()));
        }
    });
}

/// `into += other`.
pub fn add<E: Element>(into: &mut [E], other: &[E]) {
    assert_len("the other", other.len(), into.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [into], [other], |[into], [other]| add_values(isa, into, other));
}

per_isa!(pub(crate) fn add_values<E> = add_body(into: &mut [E], other: &[E]));

#[inline(always)]
fn add_body<const M: bool, E: Element>(into: &mut [E], other: &[E]) {
    for (into, other) in into.iter_mut().zip(other) {
        *into = E::nearest(into.value() + other.value());
    }
}

/// `into = max(into + other, 0)`: the end of a residual block. NaN stays NaN.
pub fn add_relu<E: Element>(into: &mut [E], other: &[E]) {
    assert_len("the other", other.len(), into.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [into], [other], |[into], [other]| add_relu_values(isa, into, other));
}

per_isa!(fn add_relu_values<E> = add_relu_body(into: &mut [E], other: &[E]));

#[inline(always)]
fn add_relu_body<const M: bool, E: Element>(into: &mut [E], other: &[E]) {
    for (into, other) in into.iter_mut().zip(other) {
        *into = E::nearest(relu_of(into.value() + other.value()));
    }
}

/// An activation as a type, so that loops are compiled for each.
pub(crate) trait Function: Send + Sync {
    fn value<const M: bool>(x: f32) -> f32;
    /// The gradient at `x` of what comes before, given that of what comes after.
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32;
}

pub(crate) struct Identity;
pub(crate) struct Relu;
pub(crate) struct Relu6;
pub(crate) struct HardSwish;
pub(crate) struct HardSigmoid;
pub(crate) struct Silu;
pub(crate) struct Gelu;

impl Function for Identity {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn gradient<const M: bool>(_: f32, gradient: f32) -> f32 {
        gradient
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        relu_of(x)
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        if x <= 0.0 { 0.0 } else { gradient }
    }
}

impl Function for Relu6 {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        let x = relu_of(x);
        if x > 6.0 { 6.0 } else { x }
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        if x <= 0.0 || x >= 6.0 { 0.0 } else { gradient }
    }
}

impl Function for HardSwish {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        x * hard_sigmoid_of(x)
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        let slope = multiply_add::<M>(x, 1.0 / 3.0, 0.5);
        let slope = if x <= -3.0 { 0.0 } else { slope };
        gradient * if x >= 3.0 { 1.0 } else { slope }
    }
}

impl Function for HardSigmoid {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        hard_sigmoid_of(x)
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        if x <= -3.0 || x >= 3.0 { 0.0 } else { gradient * (1.0 / 6.0) }
    }
}

impl Function for Silu {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        x * logistic::<M>(x)[0]
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        let [rise, fall] = logistic::<M>(x);
        gradient * multiply_add::<M>(x * rise, fall, rise)
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn value<const M: bool>(x: f32) -> f32 {
        gelu_of::<M>(x)
    }
    #[inline(always)]
    fn gradient<const M: bool>(x: f32, gradient: f32) -> f32 {
        gradient * gelu_slope::<M>(x)
    }
}

/// Not `f32::max`, which would drop a NaN.
#[inline(always)]
fn relu_of(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Comparisons that keep a NaN, as above.
#[inline(always)]
fn hard_sigmoid_of(x: f32) -> f32 {
    let share = (x + 3.0) * (1.0 / 6.0);
    let share = if share < 0.0 { 0.0 } else { share };
    if share > 1.0 { 1.0 } else { share }
}

/// 1 / (1 + e^-x) and 1 less that, of e^-|x|, which is 1 at most.
#[inline(always)]
fn logistic<const M: bool>(x: f32) -> [f32; 2] {
    let small = exp::<M>(-x.abs());
    let share = 1.0 / (1.0 + small);
    let other = small * share;
    if x < 0.0 { [other, share] } else { [share, other] }
}

#[inline(always)]
fn gelu_of<const M: bool>(x: f32) -> f32 {
    x * normal_distribution::<M>(x).0
}

#[inline(always)]
fn gelu_slope<const M: bool>(x: f32) -> f32 {
    const INVERSE_ROOT_OF_2_PI: f32 = 0.398_942_3;
    let (distribution, bell) = normal_distribution::<M>(x);
    multiply_add::<M>(x * INVERSE_ROOT_OF_2_PI, bell, distribution)
}

/// Φ(x) and e^(-x²/2), by Abramowitz and Stegun 7.1.26 (error of Φ below 1e-7).
#[inline(always)]
fn normal_distribution<const M: bool>(x: f32) -> (f32, f32) {
    let size = x.abs();
    let bell = exp::<M>(-0.5 * x * x);
    let t = 1.0 / multiply_add::<M>(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, size, 1.0);
    let mut sum = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        sum = multiply_add::<M>(sum, t, coefficient);
    }
    let tail = 0.5 * sum * t * bell;
    (if x > 0.0 { 1.0 - tail } else { tail }, bell)
}
