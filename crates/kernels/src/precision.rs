//! With which numbers products are made. Everything else (sums, norms, losses, steps of optimisers) is computed in f32
//! whatever is chosen.

use std::cell::Cell;
use std::fmt;

use crate::Isa;
use crate::scoped::within;

/// What the operands of matrix products and convolutions are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Nothing: they are f32.
    #[default]
    F32,
    /// bf16, to the nearest and ties to even; products are summed in f32. Instruction sets without such products
    /// multiply rounded numbers in f32, which gives the same products, and is slower than not to round. Winograd's
    /// algorithm rounds its transformed numbers, and only where there are such products: of an even number of channels,
    /// or of weights' gradients. Where whole tiles of bf16 are multiplied, that is the algorithm of all but these: depthwise
    /// and prepared convolutions stay in f32, and so do the outputs of those that read few channels, as first layers do.
    Bf16,
}

thread_local! {
    static CHOSEN: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// The name that settings know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether [`Isa::current`] has instructions for it.
    pub fn is_native(self) -> bool {
        self == Self::F32 || matches!(Isa::current(), Isa::Avx512Bf16 | Isa::Amx)
    }

    /// Whether feature maps are best kept in it while a network learns: where [`Isa::current`] multiplies it.
    pub fn stores_maps(self) -> bool {
        self == Self::Bf16 && self.is_native()
    }

    /// What this thread's products are made with: f32 but within [`Precision::run`].
    pub fn current() -> Self {
        CHOSEN.get()
    }

    /// Runs `work` with every product that this thread calls for in this precision.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        within(&CHOSEN, self, work)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
