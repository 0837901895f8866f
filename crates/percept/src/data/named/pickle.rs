//! A restricted reader of Python pickles: dictionaries, lists, strings, numbers and arrays of bytes, read as data.
//! Nothing that a pickle asks to call is called; anything but numpy's way to rebuild an array is refused by name.

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A name that stands for code; only numpy's three are known.
    Global(String),
    Mark,
}

/// Deeper nesting than any batch has.
const MOST_VALUES: usize = 4_000_000;

impl Value {
    /// The value of a key of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| matches!(k, Self::Bytes(bytes) if bytes == key.as_bytes())).map(|(_, value)| value)
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub fn numbers(&self) -> Option<Vec<i64>> {
        let Self::List(values) = self else { return None };
        values.iter().map(|value| if let Self::Number(number) = value { Some(*number) } else { None }).collect()
    }

    pub fn texts(&self) -> Option<Vec<String>> {
        let Self::List(values) = self else { return None };
        values.iter().map(|value| Some(String::from_utf8_lossy(value.bytes()?).into_owned())).collect()
    }
}

/// Reads a pickle of protocol 0 to 4.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { rest: bytes, stack: Vec::new(), memo: Vec::new(), memo_bytes: 0 };
    reader.run()
}

struct Reader<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    memo: Vec<Option<Value>>,
    memo_bytes: usize,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let op = self.take(1)?[0];
            if self.stack.len() > MOST_VALUES {
                return Err("the pickle holds too many values".into());
            }
            match op {
                b'.' => return self.pop(),
                0x80 => _ = self.take(1)?,
                0x95 => _ = self.take(8)?,
                b'(' => self.stack.push(Value::Mark),
                b'N' => self.stack.push(Value::None),
                0x88 => self.stack.push(Value::Number(1)),
                0x89 => self.stack.push(Value::Number(0)),
                b'K' => self.number(1)?,
                b'M' => self.number(2)?,
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.stack.push(Value::Number(number.into()));
                }
                b'I' | b'L' => {
                    let line = self.line()?;
                    let text = line.trim_end_matches('L');
                    let number = text.parse().map_err(|_| format!("\"{text}\" is not a number"))?;
                    self.stack.push(Value::Number(number));
                }
                0x8a => {
                    let count = usize::from(self.take(1)?[0]);
                    let bytes = self.take(count)?;
                    if count > 8 {
                        return Err("a number of more than 64 bits".into());
                    }
                    let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                    let mut full = [fill; 8];
                    full[..count].copy_from_slice(bytes);
                    self.stack.push(Value::Number(i64::from_le_bytes(full)));
                }
                b'U' | b'C' | 0x8c => self.string(1)?,
                b'T' | b'B' | b'X' => self.string(4)?,
                0x8e | 0x8d => self.string(8)?,
                b'S' | b'V' => {
                    let line = self.line()?;
                    let text = line.trim_matches(|c| c == '\'' || c == '"').to_string();
                    self.stack.push(Value::Bytes(text.into_bytes()));
                }
                b']' => self.stack.push(Value::List(Vec::new())),
                b'}' => self.stack.push(Value::Dict(Vec::new())),
                b')' => self.stack.push(Value::List(Vec::new())),
                b'l' | b't' => {
                    let values = self.pop_to_mark()?;
                    self.stack.push(Value::List(values));
                }
                0x85..=0x87 => {
                    let count = usize::from(op - 0x84);
                    let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                    let values = self.stack.split_off(start);
                    self.stack.push(Value::List(values));
                }
                b'd' => {
                    let pairs = self.pop_to_mark()?;
                    self.stack.push(Value::Dict(pair_up(pairs)));
                }
                b'a' => {
                    let value = self.pop()?;
                    self.extend_list(vec![value])?;
                }
                b'e' => {
                    let values = self.pop_to_mark()?;
                    self.extend_list(values)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.extend_dict(vec![(key, value)])?;
                }
                b'u' => {
                    let values = self.pop_to_mark()?;
                    self.extend_dict(pair_up(values))?;
                }
                b'0' => _ = self.pop()?,
                b'p' => {
                    let place = self.line()?.parse().map_err(|_| "a memo without a number")?;
                    self.remember(place)?;
                }
                b'q' => {
                    let place = usize::from(self.take(1)?[0]);
                    self.remember(place)?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.array()?) as usize;
                    self.remember(place)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'g' => {
                    let place = self.line()?.parse().map_err(|_| "a memo without a number")?;
                    self.recall(place)?;
                }
                b'h' => {
                    let place = usize::from(self.take(1)?[0]);
                    self.recall(place)?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.array()?) as usize;
                    self.recall(place)?;
                }
                b'c' => {
                    let name = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Value::Global(known(name)?));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let text = |value: &Value| String::from_utf8_lossy(value.bytes().unwrap_or_default()).into_owned();
                    self.stack.push(Value::Global(known(format!("{}.{}", text(&module), text(&name)))?));
                }
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                other => return Err(format!("the pickle uses instruction 0x{other:02x}, which batches do not need")),
            }
        }
    }

    /// Stands in for the call that numpy's arrays and types are rebuilt by.
    fn reduce(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        match self.pop()? {
            Value::Global(name) if name.ends_with("dtype") => {
                let kind = match &arguments {
                    Value::List(values) => values.first().and_then(Value::bytes).unwrap_or_default(),
                    _ => &[],
                };
                if kind != b"u1" && kind != b"|u1" {
                    return Err(format!("an array of {}, not of bytes", String::from_utf8_lossy(kind)));
                }
                self.stack.push(Value::None);
            }
            Value::Global(name) if name.ends_with("_reconstruct") => self.stack.push(Value::Bytes(Vec::new())),
            Value::Global(name) if name == "_codecs.encode" => {
                // Python 3 writes byte strings for protocol 2 as Latin-1 text.
                let Value::List(values) = arguments else { return Err("encode without a text".into()) };
                let text = values.first().and_then(Value::bytes).unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let bytes =
                    text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| "a text beyond Latin-1".to_string()));
                self.stack.push(Value::Bytes(bytes.collect::<Result<_, _>>()?));
            }
            other => return Err(format!("the pickle calls {other:?}, which is refused")),
        }
        Ok(())
    }

    /// Takes an array's bytes out of its state: version, shape, type, order, data.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let target = self.pop()?;
        match (target, state) {
            (Value::Bytes(_), Value::List(mut state)) if state.len() == 5 => {
                if state[3] != Value::Number(0) {
                    return Err("an array in column order".into());
                }
                let Some(Value::Bytes(data)) = state.pop() else { return Err("an array without bytes".into()) };
                self.stack.push(Value::Bytes(data));
            }
            (Value::None, _) => self.stack.push(Value::None),
            _ => return Err("the pickle sets an unknown object's state".into()),
        }
        Ok(())
    }

    fn number(&mut self, size: usize) -> Result<(), String> {
        let number = self.take(size)?.iter().rev().fold(0, |number, &byte| number << 8 | i64::from(byte));
        self.stack.push(Value::Number(number));
        Ok(())
    }

    fn string(&mut self, size: usize) -> Result<(), String> {
        let length = self
            .take(size)?
            .iter()
            .rev()
            .try_fold(0usize, |length, &byte| length.checked_mul(256).map(|length| length | usize::from(byte)));
        let bytes = self.take(length.ok_or("a string without end")?)?.to_vec();
        self.stack.push(Value::Bytes(bytes));
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), String> {
        let value = self.stack.last().ok_or("the stack is empty")?.clone();
        if place > self.memo.len() + 1_000_000 {
            return Err("a memo out of range".into());
        }
        // Arrays are never recalled: keeping their bytes twice would only cost memory.
        let small = |value: &Value| !matches!(value, Value::Bytes(bytes) if bytes.len() > 1 << 16);
        if matches!(value, Value::List(ref v) if v.len() > 1000) || !small(&value) {
            return Ok(());
        }
        self.memo_bytes += 64;
        if self.memo_bytes > 1 << 30 {
            return Err("the pickle remembers too much".into());
        }
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(value);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), String> {
        let value = self.memo.get(place).cloned().flatten().ok_or("the pickle recalls what it never remembered")?;
        self.stack.push(value);
        Ok(())
    }

    fn extend_list(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.stack.last_mut() {
            Some(Value::List(list)) => {
                list.extend(values);
                Ok(())
            }
            _ => Err("the pickle appends to what is no list".into()),
        }
    }

    fn extend_dict(&mut self, pairs: Vec<(Value, Value)>) -> Result<(), String> {
        match self.stack.last_mut() {
            Some(Value::Dict(dict)) => {
                dict.extend(pairs);
                Ok(())
            }
            _ => Err("the pickle sets an item of what is no dictionary".into()),
        }
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark).ok_or("the stack has no mark")?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the pickle was cut")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "the pickle was cut".into())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle was cut")?;
        let line = self.take(end + 1)?;
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}

/// The only names of code that a batch needs; any other is refused.
fn known(name: String) -> Result<String, String> {
    const KNOWN: [&str; 6] = [
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.ndarray",
        "numpy.dtype",
        "_codecs.encode",
        "numpy.core.numeric.dtype",
    ];
    match KNOWN.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(format!("the pickle calls {name}, which is refused")),
    }
}

fn pair_up(values: Vec<Value>) -> Vec<(Value, Value)> {
    let mut values = values.into_iter();
    std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_read_as_data() {
        let value = read(b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02(K\x01K\x02eU\x04dataU\x03abcu.").expect("reads");
        assert_eq!(value.get("labels").and_then(Value::numbers), Some(vec![1, 2]));
        assert_eq!(value.get("data").and_then(Value::bytes), Some(&b"abc"[..]));
    }

    #[test]
    fn a_pickle_that_calls_code_is_refused_by_name() {
        let attack = b"cposix\nsystem\n(S'touch /tmp/owned'\ntR.";
        assert_eq!(read(attack), Err("the pickle calls posix.system, which is refused".into()));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02(K\x01K\x02eU\x04dataU\x03abcu.";
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = *whole;
                changed[place] = byte;
                let _ = read(&changed);
            }
        }
    }
}
