//! AVX2 and FMA: a tile of 6x16 in twelve registers.

use std::arch::x86_64::*;

const ROWS: usize = 6;
/// Vectors a row.
const VECTORS: usize = 2;
const WIDTH: usize = 8;
const COLUMNS: usize = VECTORS * WIDTH;

type Tile = [[__m256; VECTORS]; ROWS];

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(tile: *const f32) -> Tile {
    let mut sums: Tile = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for (r, row) in sums.iter_mut().enumerate() {
        for (v, sum) in row.iter_mut().enumerate() {
            // SAFETY: the caller's tile holds ROWS * COLUMNS numbers.
            *sum = unsafe { _mm256_loadu_ps(tile.add(r * COLUMNS + v * WIDTH)) };
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(sums: &Tile, tile: *mut f32) {
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: the caller's tile holds ROWS * COLUMNS numbers.
            unsafe { _mm256_storeu_ps(tile.add(r * COLUMNS + v * WIDTH), *sum) };
        }
    }
}

/// # Safety
/// The machine has avx2,fma; `rows` holds `6 * taps` pointers to `run` numbers each, `panel`
/// `taps * run * 16` numbers, `tile` 96.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn by_rows(rows: *const *const f32, taps: usize, run: usize, panel: *const f32, tile: *mut f32, add: bool) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let mut sums: Tile = if add { load(tile) } else { [[_mm256_setzero_ps(); VECTORS]; ROWS] };
        let mut right = panel;
        for tap in 0..taps {
            let left = *rows.add(tap * ROWS).cast::<[*const f32; ROWS]>();
            for k in 0..run {
                let mut b = [_mm256_setzero_ps(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm256_loadu_ps(right.add(v * WIDTH));
            }
                for r in 0..ROWS {
                    let a = _mm256_set1_ps(*left[r].add(k));
                    for v in 0..VECTORS {
                        sums[r][v] = _mm256_fmadd_ps(a, b[v], sums[r][v]);
                    }
                }
                right = right.add(COLUMNS);
            }
        }
        store(&sums, tile);
    }
}

/// # Safety
/// The machine has avx2,fma; `left` holds `(count - 1) * step + 6` numbers, `right` `count * 16`, `tile` 96.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn by_columns(left: *const f32, step: usize, count: usize, right: *const f32, tile: *mut f32) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let mut sums = load(tile);
        for p in 0..count {
            let right = right.add(p * COLUMNS);
            let mut b = [_mm256_setzero_ps(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm256_loadu_ps(right.add(v * WIDTH));
            }
            for r in 0..ROWS {
                let a = _mm256_set1_ps(*left.add(p * step + r));
                for v in 0..VECTORS {
                    sums[r][v] = _mm256_fmadd_ps(a, b[v], sums[r][v]);
                }
            }
        }
        store(&sums, tile);
    }
}
