//! Which instruction set computes: detected once, lowered by `PERCEPT_ISA`. It knows no kernel.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

use crate::scoped::within;

/// An instruction set that has kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the compiler's target always has: SSE2 on x86-64.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, besides AVX2 and FMA.
    Avx512,
    /// The same with AVX-512 BF16, which multiplies bf16 at twice the rate (see [`crate::Precision`]).
    Avx512Bf16,
    /// The same with Intel's AMX, which multiplies whole tiles of bf16 at several times that rate.
    Amx,
    /// AArch64's Advanced SIMD.
    Neon,
    /// WebAssembly's fixed-width SIMD, where the program was compiled for it: nothing can be detected there.
    Simd128,
}

/// The variable that forces an instruction set.
const VARIABLE: &str = "PERCEPT_ISA";

thread_local! {
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    const ALL: [Self; 7] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx, Self::Neon, Self::Simd128];

    /// The name that `PERCEPT_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
        }
    }

    /// Every instruction set of this machine, the slowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// What `PERCEPT_ISA` asks for, and the best of this machine where it is not set.
    ///
    /// # Errors
    /// A sentence that names the value and the choices, when the value is unknown or this machine lacks it.
    pub fn from_environment() -> Result<Self, String> {
        match std::env::var_os(VARIABLE) {
            Some(value) => Self::from_name(&value.to_string_lossy()),
            None => Ok(Self::best()),
        }
    }

    /// What computes on this thread's behalf. A value of `PERCEPT_ISA` that cannot be followed is passed over here:
    /// programs report it through [`Isa::from_environment`] when they start.
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        FORCED
            .get()
            .unwrap_or_else(|| *CHOSEN.get_or_init(|| Self::from_environment().unwrap_or_else(|_| Self::best())))
    }

    /// Runs `work` with every kernel that this thread calls on this instruction set; for tests and measurements.
    ///
    /// # Panics
    /// When this machine lacks it.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        assert!(self.is_available(), "this machine has no {self}");
        within(&FORCED, Some(self), work)
    }

    fn from_name(name: &str) -> Result<Self, String> {
        let available = Self::available();
        let choices = available.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        let lowered = name.trim().to_ascii_lowercase();
        match Self::ALL.into_iter().find(|isa| isa.name() == lowered) {
            Some(isa) if available.contains(&isa) => Ok(isa),
            Some(_) => Err(format!("{VARIABLE}={name}: this machine does not have it; it has {choices}")),
            None => Err(format!("{VARIABLE}={name}: no such instruction set; this machine has {choices}")),
        }
    }

    fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            Self::Amx => Self::Avx512Bf16.is_available() && crate::arch::has_amx(),
            Self::Neon | Self::Simd128 => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 | Self::Amx | Self::Simd128 => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Self::Portable || (self == Self::Simd128 && cfg!(target_feature = "simd128"))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_is_always_there_and_names_are_read_in_any_case() {
        assert_eq!(Isa::from_name("Portable "), Ok(Isa::Portable));
        assert_eq!(Isa::available()[0], Isa::Portable);
    }

    #[test]
    fn an_unknown_or_missing_instruction_set_is_named_with_the_choices() {
        let choices = Isa::available().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
        let unknown = Isa::from_name("mmx").expect_err("no kernels for it");
        assert_eq!(unknown, format!("PERCEPT_ISA=mmx: no such instruction set; this machine has {choices}"));
        let missing = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        let absent = Isa::from_name(missing).expect_err("another processor's");
        assert_eq!(absent, format!("PERCEPT_ISA={missing}: this machine does not have it; it has {choices}"));
    }

    #[test]
    fn a_forced_instruction_set_ends_with_its_closure() {
        let before = Isa::current();
        assert_eq!(Isa::Portable.run(Isa::current), Isa::Portable);
        assert_eq!(Isa::current(), before);
    }
}
