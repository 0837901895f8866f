//! Which instructions are used: detected once, PERCEPT_ISA forces a lower set.

use std::{cell::Cell, sync::OnceLock};

/// A set of instructions that kernels exist for, from the lowest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler may assume anyway.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

thread_local! {
    /// A set forced for tests on this thread.
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    /// The name that PERCEPT_ISA takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Every set that this machine has.
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|&isa| isa <= Self::best()).collect()
    }

    /// The set in use.
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        FORCED.get().unwrap_or_else(|| *CHOSEN.get_or_init(|| Self::from_environment().unwrap_or_else(|_| Self::best())))
    }

    /// The best set, or the one that PERCEPT_ISA names.
    ///
    /// # Errors
    /// A value that is no set, or one that this machine lacks.
    pub fn from_environment() -> Result<Self, String> {
        let Some(value) = std::env::var_os("PERCEPT_ISA") else { return Ok(Self::best()) };
        let value = value.to_string_lossy();
        let available = Self::available();
        available.iter().copied().find(|isa| isa.name() == value).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            format!("PERCEPT_ISA is \"{value}\"; this machine has {}", names.join(", "))
        })
    }

    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => return Self::Avx512,
                (true, false) => return Self::Avx2,
                _ => {}
            }
        }
        Self::Portable
    }
}

/// Runs `work` with another set of instructions, on this thread: for tests and comparisons.
///
/// # Panics
/// If this machine lacks the set.
pub fn with_isa<T>(isa: Isa, work: impl FnOnce() -> T) -> T {
    assert!(Isa::available().contains(&isa), "this machine lacks {}", isa.name());
    let before = FORCED.replace(Some(isa));
    let result = work();
    FORCED.set(before);
    result
}

/// Compiles a function's body once for each set of instructions and runs the best one: the compiler then vectorises
/// the same plain loops with the registers that the machine has.
macro_rules! for_each_isa {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name(isa: $crate::isa::Isa, $($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($argument: $kind),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $kind),*) $(-> $result)? { body($($argument),*) }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($argument: $kind),*) $(-> $result)? { body($($argument),*) }
                match isa {
                    // SAFETY: `Isa` only ever names sets that the machine was found to have.
                    $crate::isa::Isa::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::isa::Isa::Portable => {}
                }
            }
            let _ = isa;
            body($($argument),*)
        }
    };
}
pub(crate) use for_each_isa;
