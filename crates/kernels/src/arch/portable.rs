//! Plain loops over a 4x8 tile, which compilers vectorise on any machine.

const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// # Safety
/// `rows` holds `4 * taps` pointers to `run` numbers each, `panel` `taps * run * 8` numbers, `tile` 32.
pub unsafe fn by_rows(rows: *const *const f32, taps: usize, run: usize, panel: *const f32, tile: *mut f32, add: bool) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let tile = &mut *tile.cast::<[[f32; COLUMNS]; ROWS]>();
        let mut sums = if add { *tile } else { [[0.0; COLUMNS]; ROWS] };
        let mut right = panel.cast::<[f32; COLUMNS]>();
        for tap in 0..taps {
            let left = *rows.add(tap * ROWS).cast::<[*const f32; ROWS]>();
            for k in 0..run {
                for (row, pointer) in sums.iter_mut().zip(left) {
                    let value = *pointer.add(k);
                    row.iter_mut().zip(&*right).for_each(|(sum, b)| *sum += value * b);
                }
                right = right.add(1);
            }
        }
        *tile = sums;
    }
}

/// # Safety
/// `left` holds `(count - 1) * step + 4` numbers, `right` `count * 8`, `tile` 32.
pub unsafe fn by_columns(left: *const f32, step: usize, count: usize, right: *const f32, tile: *mut f32) {
    // SAFETY: the caller's promise covers every access below.
    unsafe {
        let tile = &mut *tile.cast::<[[f32; COLUMNS]; ROWS]>();
        let mut sums = *tile;
        for p in 0..count {
            let values = &*left.add(p * step).cast::<[f32; ROWS]>();
            let right = &*right.add(p * COLUMNS).cast::<[f32; COLUMNS]>();
            for (row, value) in sums.iter_mut().zip(values) {
                row.iter_mut().zip(right).for_each(|(sum, b)| *sum += value * b);
            }
        }
        *tile = sums;
    }
}
