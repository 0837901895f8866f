//! Intel's AMX: tiles of 16 rows and 16 columns in registers of their own, and an instruction that multiplies two of
//! them in bf16. Everything that is not a product of tiles is AVX-512's.
//!
//! Written in assembly: the compiler has no stable functions for it.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, __m512i, __mmask16, _mm256_maskz_loadu_epi16, _mm256_storeu_si256, _mm512_cvtepu16_epi32,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32,
    _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::sync::OnceLock;

use super::avx512::LANES;
use super::avx512bf16::rounded;
use super::matrix::{Layouts, MATRIX_SIDE, Matrix, MatrixTile, POSITIONS, Sources};
use crate::{Bf16, Element};

pub(super) const MATRIX: Matrix =
    Matrix { is_native: true, begin, end, multiply, wide: Layouts::TILES, narrow: Layouts::TILES };

impl<E: Lanes> Layouts<E> {
    const TILES: Self = Self { rows, pairs, turned };
}

/// What the tile registers hold: eight of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = Configuration({
    let mut bytes = [0; 64];
    bytes[0] = 1; // the only palette there is
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64; // bytes in a row, 16 bits each
        bytes[48 + tile] = 16; // rows
        tile += 1;
    }
    bytes
});

/// Whether this machine has the instructions, and the system lets this process use their registers.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(ask)
}

fn ask() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::arch::x86_64::{__cpuid_count, _xgetbv};

        /// `arch_prctl`'s request for the use of a part of the processor's state, and the number of the tiles' data.
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;

        #[target_feature(enable = "xsave")]
        fn enabled_state() -> u64 {
            // SAFETY: register 0 is there wherever the instruction is.
            unsafe { _xgetbv(0) }
        }
        if !is_x86_feature_detected!("xsave") || !is_x86_feature_detected!("avx512bf16") {
            return false;
        }
        let leaf = __cpuid_count(7, 0);
        let has = leaf.edx >> 22 & 1 == 1 && leaf.edx >> 24 & 1 == 1; // AMX-BF16 and AMX-TILE
        // SAFETY: the feature was just detected; the system call asks for a permission of this process and fails where it
        // is unknown.
        has && unsafe {
            enabled_state() >> 17 & 3 == 3 && libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

unsafe fn begin() {
    // SAFETY: the caller's promise; the compiler uses none of these registers.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack)) };
}

unsafe fn end() {
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

unsafe fn multiply(tile: &MatrixTile<'_>) {
    if tile.runs.is_empty() || tile.blocks == 0 {
        if !tile.accumulate {
            // SAFETY: the caller's promise.
            unsafe { tile.c.write_bytes(0, MATRIX_SIDE * MATRIX_SIDE) };
        }
        return;
    }
    let runs = tile.runs.as_ptr_range();
    // SAFETY: by the caller's promise A, B and C can be used at every place that is read and written here, and the registers
    // are configured.
    unsafe {
        asm!(
            "lea {low}, [{c} + 8 * {side}]",
            "lea {low}, [{low} + 8 * {side}]",
            "test {count}, {count}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c} + 1 * {side}]",
            "tileloadd tmm1, [{c} + 1 * {side} + 64]",
            "tileloadd tmm2, [{low} + 1 * {side}]",
            "tileloadd tmm3, [{low} + 1 * {side} + 64]",
            "3:",
            "mov {high}, [{run}]",
            "lea {high}, [{a} + 2 * {high}]",
            "lea {low}, [{high} + 8 * {a_row}]",
            "lea {low}, [{low} + 8 * {a_row}]",
            "mov {count}, {blocks}",
            "4:",
            "tileloadd tmm4, [{high} + 1 * {a_row}]",
            "tileloadd tmm6, [{b} + 1 * {side}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + 1 * {side} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{low} + 1 * {a_row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {high}, 64",
            "add {low}, 64",
            "add {b}, 2048",
            "dec {count}",
            "jnz 4b",
            "add {run}, 8",
            "cmp {run}, {runs_end}",
            "jne 3b",
            "lea {low}, [{c} + 8 * {side}]",
            "lea {low}, [{low} + 8 * {side}]",
            "tilestored [{c} + 1 * {side}], tmm0",
            "tilestored [{c} + 1 * {side} + 64], tmm1",
            "tilestored [{low} + 1 * {side}], tmm2",
            "tilestored [{low} + 1 * {side} + 64], tmm3",
            a = in(reg) tile.a,
            a_row = in(reg) 2 * tile.a_row,
            run = inout(reg) runs.start => _,
            runs_end = in(reg) runs.end,
            blocks = in(reg) tile.blocks,
            b = inout(reg) tile.b => _,
            side = in(reg) 4 * MATRIX_SIDE,
            c = in(reg) tile.c,
            high = out(reg) _,
            low = out(reg) _,
            count = inout(reg) usize::from(tile.accumulate) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Numbers of which [`LANES`] are read at a time.
pub(crate) trait Lanes: Element {
    /// Those from `source` on for which `mask` has a bit, as bf16, and zeros for the others.
    ///
    /// # Safety
    /// The machine has AVX-512 with BF16; all that have a bit can be read.
    unsafe fn load(source: *const Self, mask: __mmask16) -> __m256i;
}

impl Lanes for f32 {
    #[inline(always)]
    unsafe fn load(source: *const Self, mask: __mmask16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { rounded(_mm512_maskz_loadu_ps(mask, source)) }
    }
}

impl Lanes for Bf16 {
    #[inline(always)]
    unsafe fn load(source: *const Self, mask: __mmask16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskz_loadu_epi16(mask, source.cast()) }
    }
}

/// The values of [`LANES`] channels from `first` on, 0 behind the last of `channels`.
///
/// # Safety
/// `source` can be read at `channels` places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn load<E: Lanes>(source: *const E, first: usize, channels: usize) -> __m256i {
    let count = channels.saturating_sub(first).min(LANES);
    let mask = (1u32 << count) - 1;
    // SAFETY: only what the caller promises is read.
    unsafe { E::load(source.wrapping_add(first), mask as __mmask16) }
}

/// The pairs of two positions.
#[inline]
#[target_feature(enable = "avx512f")]
fn paired(first: __m256i, second: __m256i) -> __m512i {
    let [first, second] = [first, second].map(|values| _mm512_cvtepu16_epi32(values));
    _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn rows<E: Lanes>(sources: &Sources<E>, channels: usize, stride: usize, into: *mut u16) {
    for (position, &source) in sources.iter().enumerate() {
        for first in (0..stride).step_by(LANES) {
            // SAFETY: the caller's promise; a stride is a multiple of `LANES`.
            unsafe {
                let values = load(source, first, channels);
                _mm256_storeu_si256(into.add(position * stride + first).cast(), values);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn pairs<E: Lanes>(sources: &Sources<E>, channels: usize, panel: usize, into: *mut u32) {
    for first in (0..channels.next_multiple_of(MATRIX_SIDE)).step_by(LANES) {
        let into = into.wrapping_add(first / MATRIX_SIDE * panel + first % MATRIX_SIDE);
        for (pair, sources) in sources.chunks_exact(2).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let values = paired(load(sources[0], first, channels), load(sources[1], first, channels));
                _mm512_storeu_si512(into.add(pair * MATRIX_SIDE).cast(), values);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl")]
unsafe fn turned<E: Lanes>(sources: &Sources<E>, channels: usize, stride: usize, into: *mut u16) {
    for first in (0..channels.next_multiple_of(MATRIX_SIDE)).step_by(LANES) {
        let mut words = [_mm512_setzero_si512(); POSITIONS / 2];
        for (word, sources) in words.iter_mut().zip(sources.chunks_exact(2)) {
            // SAFETY: the caller's promise.
            *word = unsafe { paired(load(sources[0], first, channels), load(sources[1], first, channels)) };
        }
        for (channel, &word) in transposed(words).iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(into.add((first + channel) * stride).cast(), word) };
        }
    }
}

/// 16 vectors of 16 words, turned.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    // Words of two rows side by side, then of four; a vector then holds one column of each of its four parts.
    let mut twos = rows;
    for pair in 0..8 {
        twos[2 * pair] = _mm512_unpacklo_epi32(rows[2 * pair], rows[2 * pair + 1]);
        twos[2 * pair + 1] = _mm512_unpackhi_epi32(rows[2 * pair], rows[2 * pair + 1]);
    }
    let mut fours = twos;
    for four in 0..4 {
        for half in 0..2 {
            let [low, high] = [twos[4 * four + half], twos[4 * four + 2 + half]];
            fours[4 * four + 2 * half] = _mm512_unpacklo_epi64(low, high);
            fours[4 * four + 2 * half + 1] = _mm512_unpackhi_epi64(low, high);
        }
    }
    // Part p of `fours[4 * four + column]` holds rows `4 * four ..` of column `4 * p + column`.
    let mut columns = fours;
    for column in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|four| fours[4 * four + column]);
        let (ab_even, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xDD>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xDD>(c, d));
        columns[column] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        columns[8 + column] = _mm512_shuffle_i32x4::<0xDD>(ab_even, cd_even);
        columns[4 + column] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        columns[12 + column] = _mm512_shuffle_i32x4::<0xDD>(ab_odd, cd_odd);
    }
    columns
}
