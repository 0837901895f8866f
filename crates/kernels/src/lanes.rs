//! Loops over values, compiled once per instruction set: a body is written once, without intrinsics, and the compiler
//! makes vectors of it. `M` says whether a multiplication and an addition are fused: one instruction where there is
//! one, a library call where there is none.

/// Gives a body, `#[inline(always)] fn body<const M: bool>(arguments)`, an entry that picks the instruction set:
/// `entry(isa, arguments)`. One for several kinds of numbers is `entry<E>`, and its body has `E: Element` behind `M`.
macro_rules! per_isa {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $entry:ident $(<$element:ident>)? = $body:ident($($name:ident: $type:ty),* $(,)?) $(-> $result:ty)?
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "the arguments of a body, and the instruction set")]
        $visibility fn $entry$(<$element: crate::Element>)?(isa: crate::Isa, $($name: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "the arguments of a body")]
            fn avx2$(<$element: crate::Element>)?($($name: $type),*) $(-> $result)? {
                $body::<true $(, $element)?>($($name),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            #[allow(clippy::too_many_arguments, reason = "the arguments of a body")]
            fn avx512$(<$element: crate::Element>)?($($name: $type),*) $(-> $result)? {
                $body::<true $(, $element)?>($($name),*)
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: entries are given `Isa::current()`, which this machine has.
                crate::Isa::Avx2 => unsafe { avx2($($name),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                crate::Isa::Avx512 | crate::Isa::Avx512Bf16 | crate::Isa::Amx => unsafe { avx512($($name),*) },
                // Advanced SIMD belongs to every AArch64 target that Rust has.
                crate::Isa::Neon => $body::<true $(, $element)?>($($name),*),
                _ => $body::<false $(, $element)?>($($name),*),
            }
        }
    };
}
pub(crate) use per_isa;

/// `a b + c`, fused where `M`.
#[inline(always)]
pub(crate) fn multiply_add<const M: bool>(a: f32, b: f32, c: f32) -> f32 {
    if M { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` for `x` up to 0, within 2 units in the last place: `2^n` times a polynomial for `e^r`, `|r| <= ln 2 / 2`
/// (Taylor's, degree 7). Below -87.3, where results would be subnormal, it is 0; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const M: bool>(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4; // 355/512: its products with whole numbers are exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number in the low bits
    const LOWEST: f32 = -87.3;
    let bounded = if x < LOWEST { LOWEST } else { x };
    let shifted = multiply_add::<M>(bounded, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<M>(n, -LN_2_LOW, multiply_add::<M>(n, -LN_2_HIGH, bounded));
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = multiply_add::<M>(sum, r, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { sum * power }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let mut x = -87.3f32;
        while x <= 0.0 {
            for value in [exp::<true>(x), exp::<false>(x)] {
                let exact = f64::from(x).exp();
                let error = (f64::from(value) / exact - 1.0).abs();
                assert!(error < 2.4e-7, "e^{x} is {exact:e}, not {value:e}");
            }
            x += 0.000_7 + x.abs() * 1e-4;
        }
    }

    #[test]
    fn the_exponential_of_the_extremes() {
        for exp in [exp::<true> as fn(f32) -> f32, exp::<false>] {
            assert_eq!(exp(0.0), 1.0);
            assert_eq!(exp(f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(-1000.0), 0.0);
            assert!(exp(f32::NAN).is_nan());
        }
    }
}
