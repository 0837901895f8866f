//! PyTorch's files read as data: what `torch.save` writes of a state dict, in the archive of today and in the format
//! before 1.6. Nothing in them is executed.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{Cursor, Read},
};

use half::{bf16, f16};

use super::Tensors;
use crate::pickle::{Number, Pickle, Tensor};

/// The first bytes of a file of today's format: it is a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";
/// The number that opens the old format.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Storages are read for each of their tensors, of which few share one: how many times the file's size in all.
const READINGS: usize = 8;
/// Where training scripts put a state dict beside other things.
const INSIDE: [&str; 3] = ["state_dict", "model", "state_dict_ema"];

/// Whether these bytes begin as `torch.save` begins.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.get(4..14) == Some(&MAGIC)
}

/// The tensors of a state dict, as f32, by their names. Integers, such as counters of batches, are left out.
pub(super) fn read(bytes: &[u8]) -> Result<Tensors, String> {
    if bytes.starts_with(ZIP) { read_archive(bytes) } else { read_old(bytes) }
}

fn read_archive(bytes: &[u8]) -> Result<Tensors, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let pickle =
        archive.file_names().filter_map(Result::ok).find(|name| name.ends_with("/data.pkl")).map(Cow::into_owned);
    let pickle = pickle.ok_or("it is an archive without data.pkl")?;
    let folder = pickle.trim_end_matches("data.pkl").to_string();
    let mut entry = |name: &str, most: usize| -> Result<Vec<u8>, String> {
        let entry = archive.by_name(&format!("{folder}{name}")).map_err(|error| format!("{name}: {error}"))?;
        let mut content = Vec::new();
        // What is stored is not larger than the file: more is a bomb.
        entry.take(most as u64).read_to_end(&mut content).map_err(|error| format!("{name}: {error}"))?;
        Ok(content)
    };
    if let Ok(order) = entry("byteorder", 16)
        && order != b"little"
    {
        return Err("its numbers are big-endian".into());
    }
    let text = entry("data.pkl", bytes.len())?;
    let pickle = Pickle::read(&text)?;
    tensors_of(&pickle, bytes.len(), |key, length| entry(&format!("data/{key}"), length))
}

/// Five pickles (a magic number, a version, sizes of types, the state dict, the storages' keys), and the storages: each
/// a length in 8 bytes and its numbers.
fn read_old(bytes: &[u8]) -> Result<Tensors, String> {
    // The magic number is longer than integers are elsewhere; it was compared already, and a stop follows it.
    let mut at = 4 + MAGIC.len() + 1;
    for _ in 0..2 {
        at += Pickle::read_first(bytes.get(at..).unwrap_or_default())?.1;
    }
    let (state, end) = Pickle::read_first(&bytes[at..])?;
    at += end;
    let (keys, end) = Pickle::read_first(&bytes[at..])?;
    at += end;
    let keys = keys.texts(keys.root()).ok_or("it lists no storages")?;
    // A storage's size is known from the tensors that read it.
    let mut sizes = HashMap::new();
    for (_, id) in state_dict(&state)? {
        if let Some((tensor, key)) = state.tensor(id) {
            sizes.insert(key.to_string(), tensor.number.size());
        }
    }
    let mut storages = HashMap::new();
    for key in keys {
        let short = || format!("it ends before storage {key}");
        let length = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let size = *sizes.get(key).ok_or_else(|| format!("nothing tells the type of storage {key}"))?;
        let length = length.and_then(|length| usize::try_from(length).ok()?.checked_mul(size)).ok_or_else(short)?;
        let end = (at + 8).checked_add(length).filter(|&end| end <= bytes.len()).ok_or_else(short)?;
        storages.insert(key.to_string(), at + 8..end);
        at = end;
    }
    tensors_of(&state, bytes.len(), |key, _| {
        let range = storages.get(key).ok_or_else(|| format!("storage {key} is missing"))?;
        Ok(bytes[range.clone()].to_vec())
    })
}

/// The dict of tensors: the outermost, or the one that a training script put inside of it.
fn state_dict<'p>(pickle: &'p Pickle) -> Result<Vec<(&'p str, crate::pickle::Id)>, String> {
    let pairs = pickle.pairs(pickle.root()).ok_or("it holds no state dict: save model.state_dict()")?;
    let inside = INSIDE.iter().find_map(|name| pairs.iter().find(|pair| pair.0 == *name));
    match inside.and_then(|pair| pickle.pairs(pair.1)) {
        Some(pairs) => Ok(pairs),
        None => Ok(pairs),
    }
}

/// Reads every tensor; `storage` gives the bytes of a key, and is told how many there should be.
fn tensors_of(
    pickle: &Pickle,
    most: usize,
    mut storage: impl FnMut(&str, usize) -> Result<Vec<u8>, String>,
) -> Result<Tensors, String> {
    let mut tensors = Tensors::new();
    let (mut left, mut unread) = (most, most.saturating_mul(READINGS));
    for (name, id) in state_dict(pickle)? {
        let Some((tensor, key)) = pickle.tensor(id) else { continue };
        if tensor.number == Number::Other {
            continue;
        }
        let count = tensor.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        // Many tensors may show one storage: their sum is bounded, so that a small file cannot fill the memory.
        left = count
            .and_then(|count| left.checked_sub(count.checked_mul(tensor.number.size())?))
            .ok_or("its tensors hold more numbers than the file")?;
        let length = tensor.storage_length.saturating_mul(tensor.number.size());
        unread = unread.checked_sub(length).ok_or("its tensors read more numbers than the file holds")?;
        let bytes = storage(key, length)?;
        if bytes.len() != length {
            return Err(format!("{name}: its storage has {} bytes instead of {length}", bytes.len()));
        }
        let name = name.strip_prefix("module.").unwrap_or(name);
        tensors.insert(name.to_string(), (tensor.shape.clone(), numbers_of(tensor, &bytes)));
    }
    match tensors.is_empty() {
        true => Err("it holds no tensors: save model.state_dict()".into()),
        false => Ok(tensors),
    }
}

/// The numbers that a tensor shows of its storage, in row-major order.
fn numbers_of(tensor: &Tensor, bytes: &[u8]) -> Vec<f32> {
    let number = |place: usize| {
        let bytes = &bytes[place * tensor.number.size()..];
        match tensor.number {
            Number::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Number::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Number::F32 => bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes)),
            Number::F64 | Number::Other => bytes.first_chunk().map_or(0.0, |bytes| f64::from_le_bytes(*bytes) as f32),
        }
    };
    let count = tensor.shape.iter().product();
    let place = |index: usize| {
        let (mut rest, mut place) = (index, tensor.offset);
        for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
            place += rest % size * stride;
            rest /= size;
        }
        place
    };
    (0..count).map(|index| number(place(index))).collect()
}
