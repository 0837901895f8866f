//! The stack machine that executes a pickle's opcodes, as far as they write down data.

use std::{collections::HashMap, ops::Range};

use super::{Array, Dtype, Id, Known, Number, REFUSES, Raw, Storage, Tensor, Value};

/// Values in one pickle; CIFAR-100's largest batch holds 150,000.
pub(super) const MAX_VALUES: usize = 2_000_000;
/// Bytes of a name, and dimensions of an array.
const MAX_WORD: usize = 200;
const MAX_DIMENSIONS: usize = 4;

/// The stack machine that a pickle is a program for.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes in [`Raw::Own`] so far.
    own: usize,
}

const ENDS_EARLY: &str = "the pickle ends early";

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (values, stack, marks) = (Vec::new(), Vec::new(), Vec::new());
        Self { bytes, at: 0, values, stack, marks, memo: HashMap::new(), own: 0 }
    }

    /// The byte that is read next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Executes one opcode; the value of the whole pickle when it was the last.
    pub(super) fn step(&mut self) -> Result<Option<Id>, String> {
        if self.stack.len().max(self.marks.len()).max(self.memo.len()) > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.take(1)?), // PROTO
            0x95 => drop(self.take(8)?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b => self.push_integer(opcode)?,
            b'F' => {
                self.line()?;
                self.push(Value::Float)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Float)?;
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | b'B' | b'C' | 0x8c..=0x8e | 0x96 => self.push_string(opcode)?,
            b']' => self.push(Value::List(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'l' | b't' | b'd' => self.collect(opcode)?,
            0x85..=0x87 => self.tuple_of(usize::from(opcode) - 0x84)?,
            b'a' | b'e' | b's' | b'u' => self.extend(opcode)?,
            b'p' | b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'g' | b'h' | b'j' => self.recall(opcode)?,
            b'c' | 0x93 => self.push_global(opcode)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'i' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                return Err(refusal(&module, &name));
            }
            b'o' | 0x81 | 0x92 => return Err("refuses to build an object".into()),
            b'Q' => self.push_storage()?,
            b'P' | 0x82..=0x84 | 0x97 => return Err("refuses to load what lies outside the file".into()),
            _ => return Err(format!("unknown opcode {opcode:#04x}")),
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], String> {
        let range = self.range(length)?;
        Ok(&self.bytes[range])
    }

    fn range(&mut self, length: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(ENDS_EARLY)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// A little-endian number of `size` bytes.
    fn number(&mut self, size: usize) -> Result<u64, String> {
        Ok(self.take(size)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Up to the end of the line, without it.
    fn line(&mut self) -> Result<Range<usize>, String> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n').ok_or(ENDS_EARLY)?;
        let range = self.range(length)?;
        self.at += 1;
        Ok(range)
    }

    fn text_line(&mut self) -> Result<String, String> {
        let range = self.line()?;
        Ok(String::from_utf8_lossy(&self.bytes[range]).trim().to_string())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
        Ok(())
    }

    /// What lies under the last mark is not for taking.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, String> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above.last().copied().ok_or_else(|| "takes a value from an empty stack".into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("lacks a mark")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    fn push_integer(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'J' => i64::from(self.number(4)? as u32 as i32),
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            0x8a | 0x8b => {
                let size = self.number(if opcode == 0x8a { 1 } else { 4 })? as usize;
                if size > 8 {
                    return Err(format!("an integer of {size} bytes"));
                }
                let unused = 64 - 8 * size as u32;
                let value = self.number(size)? as i64;
                if size == 0 { 0 } else { value << unused >> unused }
            }
            _ => {
                let line = self.text_line()?;
                match line.as_str() {
                    "00" => return self.push(Value::Bool(false)),
                    "01" => return self.push(Value::Bool(true)),
                    digits => digits.trim_end_matches('L').parse().map_err(|_| "an integer that is none")?,
                }
            }
        };
        self.push(Value::Int(value))
    }

    fn push_string(&mut self, opcode: u8) -> Result<(), String> {
        let size = match opcode {
            b'S' | b'V' => {
                let line = self.line()?;
                let text = &self.bytes[line];
                let value = match opcode {
                    b'S' => Value::Bytes(Raw::Own(unquote(text)?.into())),
                    _ => Value::Text(Raw::Own(decode_escapes(text)?.into_bytes().into())),
                };
                return self.push(value);
            }
            b'U' | b'C' | 0x8c => self.number(1)?,
            b'T' | b'X' | b'B' => self.number(4)?,
            _ => self.number(8)?,
        };
        let range = self.range(usize::try_from(size).map_err(|_| ENDS_EARLY)?)?;
        let text = matches!(opcode, b'X' | 0x8c | 0x8d);
        self.push(if text { Value::Text(Raw::Part(range)) } else { Value::Bytes(Raw::Part(range)) })
    }

    fn collect(&mut self, opcode: u8) -> Result<(), String> {
        let items = self.pop_to_mark()?;
        self.push(match opcode {
            b'l' => Value::List(items),
            b't' => Value::Tuple(items),
            _ => Value::Dict(pairs_of(&items)?),
        })
    }

    fn tuple_of(&mut self, length: usize) -> Result<(), String> {
        let start = self.stack.len().checked_sub(length).filter(|&start| start >= self.floor());
        let items = self.stack.split_off(start.ok_or("takes a value from an empty stack")?);
        self.push(Value::Tuple(items))
    }

    fn extend(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let target = self.top()?;
        match (&mut self.values[target.0 as usize], opcode) {
            (Value::List(list), b'a' | b'e') => list.extend(items),
            (Value::Dict(dict), b's' | b'u') => dict.extend(pairs_of(&items)?),
            _ => return Err("adds to what is neither a list nor a dict".into()),
        }
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Result<(), String> {
        let key = match opcode {
            b'p' => self.text_line()?.parse().map_err(|_| "a memo without a number")?,
            b'q' => self.number(1)?,
            b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), String> {
        let key = match opcode {
            b'g' => self.text_line()?.parse().map_err(|_| "a memo without a number")?,
            b'h' => self.number(1)?,
            _ => self.number(4)?,
        };
        let id = *self.memo.get(&key).ok_or("recalls what it never remembered")?;
        self.stack.push(id);
        Ok(())
    }

    fn push_global(&mut self, opcode: u8) -> Result<(), String> {
        let (module, name) = if opcode == b'c' {
            (self.text_line()?, self.text_line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            (self.word(module)?.to_string(), self.word(name)?.to_string())
        };
        let known = match (module.as_str(), name.as_str()) {
            ("numpy", "ndarray") => Known::Ndarray,
            ("numpy", "dtype") => Known::MakeDtype,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Known::MakeArray,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Known::MakeScalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Known::ArrayFromBuffer,
            ("_codecs", "encode") => Known::Encode,
            ("collections", "OrderedDict") => Known::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Known::MakeTensor,
            ("torch._utils", "_rebuild_parameter") => Known::MakeParameter,
            ("torch", "HalfStorage") => Known::StorageOf(Number::F16),
            ("torch", "BFloat16Storage") => Known::StorageOf(Number::Bf16),
            ("torch", "FloatStorage") => Known::StorageOf(Number::F32),
            ("torch", "DoubleStorage") => Known::StorageOf(Number::F64),
            ("torch", "LongStorage") => Known::StorageOf(Number::Other),
            _ => return Err(refusal(&module, &name)),
        };
        self.push(Value::Known(known))
    }

    /// A word, borrowed: a long one can be recalled endlessly, so copying it is not free.
    fn word(&self, id: Id) -> Result<&str, String> {
        match self.value(id) {
            Value::Text(raw) | Value::Bytes(raw) => {
                let bytes = raw.within(self.bytes);
                let short = bytes.get(..bytes.len().min(MAX_WORD)).filter(|short| short.len() == bytes.len());
                short.and_then(|short| str::from_utf8(short).ok()).ok_or_else(|| "a name that is none".into())
            }
            _ => Err("a name that is no text".into()),
        }
    }

    /// A call, in Python; here, one of the few ways to write down data.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Value::Tuple(arguments) = self.value(arguments) else { return Err("a call without arguments".into()) };
        let Value::Known(known) = self.value(callee) else { return Err(format!("{REFUSES}a value")) };
        let value = match (known, arguments.as_slice()) {
            (Known::MakeArray, [class, ..]) if matches!(self.value(*class), Value::Known(Known::Ndarray)) => {
                Value::Array(None)
            }
            (Known::MakeDtype, [code, ..]) => Value::Dtype(self.parse_dtype(*code)?),
            (Known::MakeScalar, [dtype, data]) => self.scalar(*dtype, *data)?,
            (Known::ArrayFromBuffer, [data, dtype, shape, order]) => {
                if self.word(*order)? != "C" {
                    return Err("an array that is not in C order".into());
                }
                Value::Array(Some(self.array(*shape, *dtype, *data)?))
            }
            (Known::Encode, [text, ..]) => Value::Bytes(Raw::Own(self.encode(*text)?.into())),
            (Known::OrderedDict, []) => Value::Dict(Vec::new()),
            (Known::MakeTensor, [storage, offset, shape, strides, ..]) => {
                Value::Tensor(self.tensor(*storage, *offset, *shape, *strides)?)
            }
            (Known::MakeParameter, [tensor, ..]) => match self.value(*tensor) {
                Value::Tensor(tensor) => Value::Tensor(tensor.clone()),
                _ => return Err("a parameter of what is no tensor".into()),
            },
            _ => return Err("arguments that its call does not take".into()),
        };
        self.push(value)
    }

    fn parse_dtype(&self, code: Id) -> Result<Dtype, String> {
        let code = self.word(code)?;
        Dtype::parse(code.as_bytes())
            .ok_or_else(|| format!("an array of type \"{}\": only integers are read", code.escape_debug()))
    }

    fn scalar(&self, dtype: Id, data: Id) -> Result<Value, String> {
        match (self.value(dtype), self.value(data)) {
            (Value::Dtype(dtype), Value::Bytes(raw)) if raw.within(self.bytes).len() == dtype.size => {
                Ok(Value::Int(dtype.integer(raw.within(self.bytes))))
            }
            _ => Err("a NumPy number that is no integer".into()),
        }
    }

    /// Python 3 writes bytes into protocol 2 as text whose characters are the bytes.
    fn encode(&mut self, text: Id) -> Result<Vec<u8>, String> {
        let Value::Text(raw) = self.value(text) else { return Err("an encoding of what is no text".into()) };
        let text = str::from_utf8(raw.within(self.bytes)).map_err(|_| "text that is not UTF-8")?;
        // One text can be recalled and encoded again and again: the sum is bounded, not each.
        let sum = self.own.saturating_add(text.len());
        if sum > self.bytes.len() {
            return Err("more bytes than the file holds".into());
        }
        let bytes = text.chars().map(|character| u8::try_from(u32::from(character)));
        let bytes = bytes.collect::<Result<_, _>>().map_err(|_| "text that is not Latin-1")?;
        self.own = sum;
        Ok(bytes)
    }

    /// Gives a value its state: arrays their content, dtypes their byte order.
    fn build(&mut self) -> Result<(), String> {
        let (state, target) = (self.pop()?, self.top()?);
        // PyTorch's notes on a state dict's versions.
        if let (Value::Dict(_), Value::Dict(notes)) = (self.value(target), self.value(state))
            && let [(key, _)] = notes[..]
            && self.word(key) == Ok("_metadata")
        {
            return Ok(());
        }
        let Value::Tuple(state) = self.value(state) else { return Err("refuses to set an object's state".into()) };
        let value = match (self.value(target), state.as_slice()) {
            (Value::Array(None), [_, shape, dtype, fortran, data]) => {
                if !matches!(self.value(*fortran), Value::Bool(false) | Value::Int(0)) {
                    return Err("an array that is not in C order".into());
                }
                Value::Array(Some(self.array(*shape, *dtype, *data)?))
            }
            (Value::Dtype(dtype), [_, order, ..]) => {
                Value::Dtype(Dtype { big_endian: self.word(*order)? == ">", ..*dtype })
            }
            _ => return Err("refuses to set an object's state".into()),
        };
        self.values[target.0 as usize] = value;
        Ok(())
    }

    fn array(&self, shape: Id, dtype: Id, data: Id) -> Result<Array, String> {
        let (Value::Tuple(sides), Value::Dtype(dtype)) = (self.value(shape), self.value(dtype)) else {
            return Err("an array without shape or type".into());
        };
        let Value::Bytes(data) = self.value(data) else { return Err("an array of objects".into()) };
        if sides.len() > MAX_DIMENSIONS {
            return Err(format!("an array of {} dimensions", sides.len()));
        }
        let shape = self.sizes(sides)?;
        let length = shape.iter().try_fold(dtype.size, |product, &side| product.checked_mul(side));
        let found = data.within(self.bytes).len();
        if length != Some(found) {
            return Err(format!("an array of shape {shape:?} with {found} bytes"));
        }
        Ok(Array { shape, dtype: *dtype, data: data.clone() })
    }

    fn sizes(&self, items: &[Id]) -> Result<Vec<usize>, String> {
        items.iter().map(|&item| self.size(item)).collect()
    }

    fn size(&self, id: Id) -> Result<usize, String> {
        match self.value(id) {
            Value::Int(size) => usize::try_from(*size).map_err(|_| "a size below 0".into()),
            _ => Err("a size that is no integer".into()),
        }
    }

    /// `("storage", type, key, device, length)`: PyTorch's way to name numbers that lie elsewhere in its file.
    fn push_storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Value::Tuple(parts) = self.value(id) else { return Err("a reference to what is no storage".into()) };
        let [kind, class, key, _, length, ..] = parts[..] else {
            return Err("a reference to what is no storage".into());
        };
        let (Value::Known(Known::StorageOf(number)), "storage") = (self.value(class), self.word(kind)?) else {
            return Err("a reference to what is no storage".into());
        };
        self.word(key)?;
        let (Value::Text(key) | Value::Bytes(key)) = self.value(key) else {
            return Err("a storage without a name".into());
        };
        let storage = Storage { number: *number, key: key.clone(), length: self.size(length)? };
        self.push(Value::Storage(storage))
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Tensor, String> {
        let (Value::Storage(storage), Value::Tuple(shape), Value::Tuple(strides)) =
            (self.value(storage), self.value(shape), self.value(strides))
        else {
            return Err("a tensor without storage or shape".into());
        };
        if shape.len() > MAX_DIMENSIONS || shape.len() != strides.len() {
            return Err(format!("a tensor of {} dimensions", shape.len()));
        }
        let (offset, shape, strides) = (self.size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
        // One behind the last number that it reaches.
        let reach = shape.iter().zip(&strides).try_fold(offset, |reach, (&size, &stride)| {
            size.saturating_sub(1).checked_mul(stride).and_then(|step| reach.checked_add(step))
        });
        let is_empty = shape.contains(&0);
        if !is_empty && reach.is_none_or(|reach| reach >= storage.length) {
            return Err(format!("a tensor of shape {shape:?} that its storage of {} does not hold", storage.length));
        }
        Ok(Tensor {
            number: storage.number,
            storage: storage.key.clone(),
            storage_length: storage.length,
            offset,
            shape,
            strides,
        })
    }
}

fn refusal(module: &str, name: &str) -> String {
    let shorten = |text: &str| text.chars().take(80).collect::<String>().escape_debug().to_string();
    format!("{REFUSES}{}.{}", shorten(module), shorten(name))
}

fn pairs_of(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".into())
    }
}

/// Protocol 0's byte string: Python 2's `repr`.
fn unquote(text: &[u8]) -> Result<Vec<u8>, String> {
    let inner = match text {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return Err("a string without quotes".into()),
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, tail @ ..] = rest {
        let (byte, used) = match (first, tail) {
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).map_err(|_| "a broken escape")?;
                (u8::from_str_radix(digits, 16).map_err(|_| "a broken escape")?, 4)
            }
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [other, ..]) => (*other, 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    Ok(bytes)
}

/// Protocol 0's text: Latin-1 in which `\uXXXX` stands for what does not fit.
fn decode_escapes(text: &[u8]) -> Result<String, String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = match (first, tail) {
            (b'\\', [b'u', tail @ ..]) => tail.get(..4),
            (b'\\', [b'U', tail @ ..]) => tail.get(..8),
            _ => None,
        };
        match digits {
            Some(digits) => {
                let code = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
                decoded.push(code.and_then(char::from_u32).ok_or("a broken escape")?);
                rest = &rest[2 + digits.len()..];
            }
            None => {
                decoded.push(char::from(*first));
                rest = tail;
            }
        }
    }
    Ok(decoded)
}
