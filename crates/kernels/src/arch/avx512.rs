//! AVX-512: a tile of 12x32 in 24 registers.

use std::arch::x86_64::*;

const ROWS: usize = 12;
/// Vectors a row.
const VECTORS: usize = 2;
const WIDTH: usize = 16;
const COLUMNS: usize = VECTORS * WIDTH;

type Tile = [[__m512; VECTORS]; ROWS];

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(tile: *const f32) -> Tile {
    let mut sums: Tile = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (r, row) in sums.iter_mut().enumerate() {
        for (v, sum) in row.iter_mut().enumerate() {
            // SAFETY: the caller's tile holds ROWS * COLUMNS numbers.
            *sum = unsafe { _mm512_loadu_ps(tile.add(r * COLUMNS + v * WIDTH)) };
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(sums: &Tile, tile: *mut f32) {
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: the caller's tile holds ROWS * COLUMNS numbers.
            unsafe { _mm512_storeu_ps(tile.add(r * COLUMNS + v * WIDTH), *sum) };
        }
    }
}

/// # Safety
/// The machine has avx512f; `rows` holds `12 * taps` pointers to `run` numbers each, `panel`
/// `taps * run * 32` numbers, `tile` 384.
#[target_feature(enable = "avx512f")]
pub unsafe fn by_rows(rows: *const *const f32, taps: usize, run: usize, panel: *const f32, tile: *mut f32, add: bool) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let mut sums: Tile = if add { load(tile) } else { [[_mm512_setzero_ps(); VECTORS]; ROWS] };
        let mut right = panel;
        for tap in 0..taps {
            let left = *rows.add(tap * ROWS).cast::<[*const f32; ROWS]>();
            for k in 0..run {
                let mut b = [_mm512_setzero_ps(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_ps(right.add(v * WIDTH));
            }
                for r in 0..ROWS {
                    let a = _mm512_set1_ps(*left[r].add(k));
                    for v in 0..VECTORS {
                        sums[r][v] = _mm512_fmadd_ps(a, b[v], sums[r][v]);
                    }
                }
                right = right.add(COLUMNS);
            }
        }
        store(&sums, tile);
    }
}

/// # Safety
/// The machine has avx512f; `left` holds `(count - 1) * step + 12` numbers, `right` `count * 32`, `tile` 384.
#[target_feature(enable = "avx512f")]
pub unsafe fn by_columns(left: *const f32, step: usize, count: usize, right: *const f32, tile: *mut f32) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let mut sums = load(tile);
        for p in 0..count {
            let right = right.add(p * COLUMNS);
            let mut b = [_mm512_setzero_ps(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_ps(right.add(v * WIDTH));
            }
            for r in 0..ROWS {
                let a = _mm512_set1_ps(*left.add(p * step + r));
                for v in 0..VECTORS {
                    sums[r][v] = _mm512_fmadd_ps(a, b[v], sums[r][v]);
                }
            }
        }
        store(&sums, tile);
    }
}
