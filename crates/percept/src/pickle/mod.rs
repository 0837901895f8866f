//! A restricted reader of Python pickles (protocols 0 to 5): numbers, text, bytes, lists, tuples, dicts, NumPy arrays
//! and PyTorch's tensors, as data. It never calls anything: what would call, import or build anything else is refused
//! by name. Memory is bounded by the size of the file and by a number of values, and nothing recurses, so depth is no
//! danger.
//!
//! The opcodes are those of CPython's `pickletools`.

mod machine;

use std::{ops::Range, sync::Arc};

use machine::Machine;

/// What a reason begins with where a pickle asks for more than data.
pub(crate) const REFUSES: &str = "refuses to call ";

/// A value of a [`Pickle`], by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// Bytes of a value: a part of the file, or translated from it.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Part(Range<usize>),
    Own(Arc<[u8]>),
}

#[derive(Debug)]
enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Bytes(Raw),
    Text(Raw),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Known(Known),
    Dtype(Dtype),
    Array(Option<Array>),
    Storage(Storage),
    Tensor(Tensor),
}

/// The few names from outside that stand for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Ndarray,
    MakeArray,
    ArrayFromBuffer,
    MakeDtype,
    MakeScalar,
    Encode,
    OrderedDict,
    StorageOf(Number),
    MakeTensor,
    MakeParameter,
}

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    F16,
    Bf16,
    F32,
    F64,
    /// Integers and truth values, which no weights are.
    Other,
}

/// Numbers that lie outside of the pickle, under a key.
#[derive(Clone, Debug)]
struct Storage {
    number: Number,
    key: Raw,
    length: usize,
}

/// A view of a storage's numbers.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) number: Number,
    storage: Raw,
    /// Numbers in the storage.
    pub(crate) storage_length: usize,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dtype {
    signed: bool,
    size: usize,
    big_endian: bool,
}

/// A NumPy array of integers, in row-major order.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    dtype: Dtype,
    data: Raw,
}

/// A pickle that has been read.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads a whole pickle. The error says what was refused or what is wrong, and at which byte.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        Self::read_first(bytes).map(|(pickle, _)| pickle)
    }

    /// Reads a pickle that something follows, and says where it ends.
    pub(crate) fn read_first(bytes: &'a [u8]) -> Result<(Self, usize), String> {
        let mut machine = Machine::new(bytes);
        loop {
            let start = machine.at();
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    let end = machine.at();
                    return Ok((Self { bytes, values: machine.into_values(), root }, end));
                }
                Err(reason) => return Err(format!("{reason} (at byte {start} of {})", bytes.len())),
            }
        }
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// The pairs of a dict whose keys are text, in order; nothing where it is no dict.
    pub(crate) fn pairs(&self, id: Id) -> Option<Vec<(&str, Id)>> {
        let Value::Dict(pairs) = self.value(id) else { return None };
        let text = |&(key, value): &(Id, Id)| Some((self.text(key)?, value));
        Some(pairs.iter().filter_map(text).collect())
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, id: Id) -> Option<Vec<&str>> {
        let Value::List(items) = self.value(id) else { return None };
        items.iter().map(|&item| self.text(item)).collect()
    }

    /// A tensor, and the key of its storage.
    pub(crate) fn tensor(&self, id: Id) -> Option<(&Tensor, &str)> {
        let Value::Tensor(tensor) = self.value(id) else { return None };
        Some((tensor, str::from_utf8(self.bytes_of(&tensor.storage)).ok()?))
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(raw) | Value::Bytes(raw) => str::from_utf8(self.bytes_of(raw)).ok(),
            _ => None,
        }
    }

    /// The value of a text or bytes key in the outermost dict; the last one, as in Python.
    pub(crate) fn entry(&self, key: &str) -> Option<Id> {
        let Value::Dict(pairs) = self.value(self.root) else { return None };
        let found = pairs.iter().rev().find(|(name, _)| match self.value(*name) {
            Value::Bytes(raw) | Value::Text(raw) => self.bytes_of(raw) == key.as_bytes(),
            _ => false,
        });
        found.map(|pair| pair.1)
    }

    /// Integers in a list, a tuple or an array.
    pub(crate) fn integers(&self, id: Id) -> Option<Vec<i64>> {
        match self.value(id) {
            Value::List(items) | Value::Tuple(items) => items.iter().map(|&item| self.integer(item)).collect(),
            Value::Array(Some(array)) => Some(array.integers(self.bytes_of(&array.data))),
            _ => None,
        }
    }

    /// The shape and the bytes of an array of u8.
    pub(crate) fn byte_array(&self, id: Id) -> Option<(&[usize], &Raw)> {
        match self.value(id) {
            Value::Array(Some(array)) if array.dtype.size == 1 && !array.dtype.signed => {
                Some((&array.shape, &array.data))
            }
            _ => None,
        }
    }

    fn integer(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    fn bytes_of<'b>(&'b self, raw: &'b Raw) -> &'b [u8] {
        raw.within(self.bytes)
    }
}

impl Number {
    /// Bytes that one takes in a storage.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::Other => 8,
        }
    }
}

impl Raw {
    fn within<'b>(&'b self, file: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Part(range) => &file[range.clone()],
            Self::Own(bytes) => bytes,
        }
    }
}

impl Array {
    fn integers(&self, data: &[u8]) -> Vec<i64> {
        data.chunks_exact(self.dtype.size).map(|bytes| self.dtype.integer(bytes)).collect()
    }
}

impl Dtype {
    /// "u1", "|i1", "<i4", ">i8": integers of up to 8 bytes.
    fn parse(code: &[u8]) -> Option<Self> {
        let (big_endian, code) = match code {
            [b'>', rest @ ..] => (true, rest),
            [b'<' | b'|' | b'=', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let [kind @ (b'u' | b'i'), size @ (b'1' | b'2' | b'4' | b'8')] = code else { return None };
        Some(Self { signed: *kind == b'i', size: usize::from(size - b'0'), big_endian })
    }

    fn integer(self, bytes: &[u8]) -> i64 {
        let fold = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        let value = if self.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) } as i64;
        let unused = 64 - 8 * self.size as u32;
        if self.signed { value << unused >> unused } else { value }
    }
}

#[cfg(test)]
pub(crate) mod tests;
