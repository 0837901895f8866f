//! Products of matrices: packing, blocking, threads. The algorithm once, over the micro-kernels of `arch`.

pub mod linear;
pub(crate) mod rows;

/// Packs a right operand of `depth` rows and `columns` columns, whose element (k, j) is `source[k * down + j * across]`,
/// into panels of `width` columns, `[panel][depth][width]`, filled up with zeros.
pub(crate) fn pack_panels(
    depth: usize,
    columns: usize,
    width: usize,
    source: &[f32],
    [down, across]: [usize; 2],
    packed: &mut [f32],
) {
    assert_eq!(packed.len(), packed_len(depth, columns, width));
    for (panel, packed) in packed.chunks_exact_mut((depth * width).max(1)).enumerate() {
        let first = panel * width;
        let filled = width.min(columns - first);
        for (k, row) in packed.chunks_exact_mut(width).enumerate() {
            let start = k * down + first * across;
            if across == 1 {
                row[..filled].copy_from_slice(&source[start..start + filled]);
            } else {
                row[..filled].iter_mut().enumerate().for_each(|(j, value)| *value = source[start + j * across]);
            }
            row[filled..].fill(0.0);
        }
    }
}

/// Numbers that [`pack_panels`] fills.
pub(crate) fn packed_len(depth: usize, columns: usize, width: usize) -> usize {
    columns.div_ceil(width) * width * depth
}
