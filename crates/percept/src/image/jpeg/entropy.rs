//! Huffman's code of a JPEG's scan (ITU-T T.81, annex F.2.2). This is where most of the time goes: one look into a table
//! takes a symbol and, mostly, the value behind it, from 64 bits that are refilled without a branch. The bytes are not
//! trusted: whatever is no code, or reaches beyond its block or the data, ends with `None`.

use percept_kernels::Block;

use super::header::ZIGZAG;

/// What a table looks at: more bits find more values at once, and leave less of the first-level cache.
const BITS: usize = 10;
/// Bits of the longest code.
const LONGEST: usize = 16;
/// What follows the data in memory, so that whole words can be read at its end.
pub(super) const PADDING: usize = 16;

/// Which of a block's frequencies a code is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Coefficient {
    /// The mean of the samples: what comes is its distance to the one before.
    First,
    /// All others: zeros are counted.
    Other,
}

/// A symbol and the value behind it.
#[derive(Clone, Copy)]
struct Pair {
    value: i16,
    /// Zeros before the value, or `Pair::LOOK`.
    zeros: u8,
    /// Of both.
    bits: u8,
}

impl Pair {
    /// The value does not fit, there is none, or the code is longer or unknown: look into the other table. It stands
    /// for more zeros than a block has, so that one comparison finds both.
    const LOOK: Self = Self { value: 0, zeros: 64, bits: 0 };
}

/// A symbol alone.
#[derive(Clone, Copy)]
struct Symbol {
    /// Bits of its code; 0 where there is none.
    code: u8,
    /// Bits of the value behind it.
    value: u8,
    /// Zeros before the value.
    zeros: u8,
}

impl Symbol {
    const NONE: Self = Self { code: 0, value: 0, zeros: 0 };
    /// As many zeros as make sure that the block ends.
    const END: u8 = 128;

    fn new(code: usize, symbol: u8, kind: Coefficient) -> Option<Self> {
        let (zeros, value) = match (kind, symbol >> 4, symbol & 15) {
            (Coefficient::First, 0, value @ 0..=11) => (0, value),
            (Coefficient::Other, 0, 0) => (Self::END, 0),
            // Sixteen zeros: fifteen before one.
            (Coefficient::Other, zeros, value @ 1..=10) | (Coefficient::Other, zeros @ 15, value @ 0) => (zeros, value),
            _ => return None,
        };
        Some(Self { code: code as u8, value, zeros })
    }

    /// Together with its value, where that is within the bits of a table that begin with this code.
    fn pair(self, bits: usize) -> Pair {
        let behind = BITS - usize::from(self.code);
        match behind.checked_sub(usize::from(self.value)) {
            Some(unused) if self.zeros != Self::END => Pair {
                value: extend((bits & ((1 << behind) - 1)) >> unused, self.value) as i16,
                zeros: self.zeros,
                bits: self.code + self.value,
            },
            _ => Pair::LOOK,
        }
    }
}

/// The value of `bits` bits (table F.1 and figure F.12): those that begin with 0 are negative.
#[inline(always)]
fn extend(value: usize, bits: u8) -> i32 {
    let lowest = 1 << bits >> 1;
    let value = value as i32;
    if value < lowest { value + 1 - (1 << bits) } else { value }
}

/// A code, ready to be read.
pub(super) struct HuffmanTable {
    /// By the next `BITS` bits.
    pairs: Box<[Pair; 1 << BITS]>,
    symbols: Box<[Symbol; 1 << BITS]>,
    /// By the length of a longer code: the codes, in the highest of 16 bits, are below this ...
    limits: [u32; LONGEST + 1],
    /// ... and this, added to the code, is its place in `long`.
    places: [i32; LONGEST + 1],
    long: Vec<Symbol>,
}

impl HuffmanTable {
    /// The code that has `lengths[n - 1]` symbols of `n` bits.
    pub(super) fn new(lengths: &[u8; LONGEST], symbols: &[u8], kind: Coefficient) -> Option<Self> {
        let mut table = Self {
            pairs: Box::new([Pair::LOOK; 1 << BITS]),
            symbols: Box::new([Symbol::NONE; 1 << BITS]),
            limits: [0; LONGEST + 1],
            places: [0; LONGEST + 1],
            long: Vec::new(),
        };
        let mut given = symbols.iter();
        let mut code = 0;
        for length in 1..=LONGEST {
            let count = usize::from(lengths[length - 1]);
            table.places[length] = table.long.len() as i32 - code as i32;
            for &symbol in given.by_ref().take(count) {
                let symbol = Symbol::new(length, symbol, kind)?;
                if length <= BITS {
                    let same = 1 << (BITS - length);
                    let places = code * same..(code + 1) * same;
                    table.symbols.get_mut(places.clone())?.fill(symbol);
                    for (pair, bits) in table.pairs.get_mut(places.clone())?.iter_mut().zip(places) {
                        *pair = symbol.pair(bits);
                    }
                } else {
                    table.long.push(symbol);
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.limits[length] = (code << (LONGEST - length)) as u32;
            code <<= 1;
        }
        Some(table)
    }

    /// The pair that `buffer` begins with.
    #[inline(always)]
    fn pair(&self, buffer: u64) -> Pair {
        self.pairs[(buffer >> (64 - BITS)) as usize]
    }

    /// The symbol that `buffer` begins with.
    #[inline(always)]
    fn symbol(&self, buffer: u64) -> Option<Symbol> {
        let symbol = self.symbols[(buffer >> (64 - BITS)) as usize];
        if symbol.code > 0 { Some(symbol) } else { self.long_symbol(buffer) }
    }

    #[cold]
    fn long_symbol(&self, buffer: u64) -> Option<Symbol> {
        let next = (buffer >> (64 - LONGEST)) as u32;
        let length = (BITS + 1..=LONGEST).find(|&length| next < self.limits[length])?;
        let place = (next >> (LONGEST - length)) as i32 + self.places[length];
        self.long.get(usize::try_from(place).ok()?).copied()
    }
}

/// The bits of a part of a scan without restarts.
#[derive(Clone)]
pub(super) struct Bits<'a> {
    /// The data, and zeros behind it.
    padded: &'a [u8],
    /// The next byte for the buffer.
    at: usize,
    /// The next bits, the first one highest. Below the `count` that are known stand bits that will come again.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// `padded` ends with [`PADDING`] zeros.
    pub(super) fn new(padded: &'a [u8]) -> Self {
        Self { padded, at: 0, buffer: 0, count: 0 }
    }

    /// Knows at least 56 bits then; `None` far behind the end.
    #[inline(always)]
    fn refill(&mut self) -> Option<()> {
        let word = u64::from_be_bytes(*self.padded.get(self.at..)?.first_chunk()?);
        self.buffer |= word >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
        Some(())
    }

    /// Goes on by up to 63 bits.
    #[inline(always)]
    fn skip(&mut self, bits: u8) {
        self.buffer <<= bits & 63;
        self.count -= u32::from(bits & 63);
    }

    /// The number of zeros and the value behind them, by the symbol first. Inlined, like all that changes the buffer, or
    /// that would be in memory.
    #[inline(always)]
    fn take_in_two(&mut self, table: &HuffmanTable) -> Option<(u8, i16)> {
        let Symbol { code, value, zeros } = table.symbol(self.buffer)?;
        self.skip(code);
        // Two steps: where there are no bits, all 64 have to go.
        let bits = self.buffer >> 1 >> (63 - value);
        self.skip(value);
        Some((zeros, extend(bits as usize, value) as i16))
    }

    /// Reads the frequencies of a block, which is all zeros, to their places. `before` is the first frequency of the
    /// component's block before.
    #[inline(always)]
    pub(super) fn read_block(
        &mut self,
        first: &HuffmanTable,
        rest: &HuffmanTable,
        before: &mut i16,
        block: &mut Block,
    ) -> Option<()> {
        // A copy: nothing that is written to the block can be taken for a change of it.
        let mut bits = self.clone();
        bits.refill()?;
        let mut pair = first.pair(bits.buffer);
        if pair.zeros == 0 {
            bits.skip(pair.bits);
        } else {
            (pair.zeros, pair.value) = bits.take_in_two(first)?;
        }
        *before = before.wrapping_add(pair.value);
        block[0] = *before;
        let mut place = 1;
        while place < 64 {
            bits.refill()?;
            // Two take at most 52 bits.
            for _ in 0..2 {
                let mut pair = rest.pair(bits.buffer);
                if place + usize::from(pair.zeros) < 64 {
                    bits.skip(pair.bits);
                } else {
                    (pair.zeros, pair.value) = bits.take_in_two(rest)?;
                    if place + usize::from(pair.zeros) >= 64 {
                        *self = bits;
                        // A block ends by the sign for it, not by zeros that reach beyond.
                        return (pair.zeros == Symbol::END).then_some(());
                    }
                }
                place += usize::from(pair.zeros);
                block[usize::from(ZIGZAG[place]) & 63] = pair.value;
                place += 1;
                if place == 64 {
                    break;
                }
            }
        }
        *self = bits;
        Some(())
    }

    /// Whether the data ends here: less than a byte may be left, to fill it.
    pub(super) fn is_at_end(&self) -> bool {
        let taken = 8 * self.at - self.count as usize;
        taken.div_ceil(8) == self.padded.len() - PADDING
    }
}
