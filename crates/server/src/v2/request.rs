//! An inference request as bytes, read into pictures and what is asked of them. Reads nothing else and computes nothing:
//! whatever a stranger sends comes back as pictures or as a sentence.

use axum::{body::Bytes, http::StatusCode};
use base64::{Engine, prelude::BASE64_STANDARD};
use percept::image::ImageShape;
use serde::Deserialize;

use super::{IMAGES, PROBABILITIES, UNKNOWN, tensor::Elements};
use crate::{failure::Failure, recognise::Picture};

/// What is asked.
pub(crate) struct Request {
    /// Comes back in the answer.
    pub id: Option<String>,
    pub pictures: Vec<Picture>,
    pub outputs: Vec<Wanted>,
}

/// A tensor that is to come back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub name: &'static str,
    pub binary: bool,
    /// As so many of the likeliest classes, by the classification extension.
    pub classes: Option<usize>,
}

/// Bounds of a request, and what the model gives.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub pictures: usize,
    pub pixels: u64,
    pub has_unknown: bool,
}

#[derive(Deserialize)]
struct Head {
    id: Option<String>,
    #[serde(default)]
    parameters: RequestParameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Default, Deserialize)]
struct RequestParameters {
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    #[serde(default)]
    parameters: InputParameters,
    data: Option<Elements>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<u64>,
}

fn bad(error: impl Into<String>) -> Failure {
    Failure::bad_request(error, "docs/reference/http.md shows requests that work")
}

/// Reads a body whose first `head` bytes are JSON, and the rest the binary data of its tensor; all of it is JSON where
/// nobody says.
pub(crate) fn parse(body: &Bytes, head: Option<usize>, bounds: Bounds) -> Result<Request, Failure> {
    let length = head.unwrap_or(body.len());
    if length > body.len() {
        let given = body.len();
        return Err(bad(format!("Inference-Header-Content-Length is {length}, but the body has {given} bytes")));
    }
    let binary = body.slice(length..);
    let head: Head = serde_json::from_slice(&body[..length]).map_err(|error| bad(format!("not a request: {error}")))?;
    let default = head.parameters.binary_data_output;
    let outputs = wanted(&head.outputs, default, bounds.has_unknown)?;
    let [input] = <[Input; 1]>::try_from(head.inputs)
        .map_err(|all| bad(format!("{} inputs were sent: {IMAGES:?} alone is expected", all.len())))?;
    if input.name != IMAGES {
        return Err(bad(format!("input {:?} is not known: it is called {IMAGES:?}", input.name)));
    }
    let pictures = match input.datatype.as_str() {
        "UINT8" => tensor(input, binary, bounds)?,
        "BYTES" => encoded(input, binary, bounds)?,
        other => {
            return Err(bad(format!(
                "input {IMAGES:?} is {other}: UINT8 pixels or BYTES of picture files are expected"
            )));
        }
    };
    Ok(Request { id: head.id, pictures, outputs })
}

fn wanted(outputs: &[Output], default: bool, has_unknown: bool) -> Result<Vec<Wanted>, Failure> {
    let names = if has_unknown { &[PROBABILITIES, UNKNOWN][..] } else { &[PROBABILITIES] };
    if outputs.is_empty() {
        return Ok(names.iter().map(|name| Wanted { name, binary: default, classes: None }).collect());
    }
    if outputs.len() > names.len() {
        return Err(bad(format!("{} outputs are asked for: there are {}", outputs.len(), names.join(" and "))));
    }
    let one = |output: &Output| {
        let Some(&name) = names.iter().find(|name| **name == output.name) else {
            return Err(bad(format!("output {:?} is not known: there are {}", output.name, names.join(" and "))));
        };
        let OutputParameters { binary_data, classification } = output.parameters;
        let classes =
            classification.filter(|&count| count > 0).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        if classes.is_some() && name != PROBABILITIES {
            return Err(bad(format!("output {name:?} has no classes: only {PROBABILITIES:?} has")));
        }
        Ok(Wanted { name, binary: binary_data.unwrap_or(default), classes })
    };
    outputs.iter().map(one).collect()
}

/// The input's binary data, if it has such, which has to be all that follows the JSON.
fn binary_data(input: &Input, binary: Bytes) -> Result<Option<Bytes>, Failure> {
    match (input.parameters.binary_data_size, binary.len()) {
        (Some(size), length) if size == length as u64 => Ok(Some(binary)),
        (Some(size), length) => Err(bad(format!("binary_data_size is {size}, but {length} bytes follow the JSON"))),
        (None, 0) => Ok(None),
        (None, length) => {
            Err(bad(format!("{length} bytes follow the JSON, but input {IMAGES:?} has no binary_data_size")))
        }
    }
}

fn no_data() -> Failure {
    bad(format!("input {IMAGES:?} has neither data nor binary_data_size"))
}

/// Pictures as pixels: `[pictures, height, width, channels]`, or one without the first.
fn tensor(input: Input, binary: Bytes, bounds: Bounds) -> Result<Vec<Picture>, Failure> {
    let shape = match input.shape[..] {
        [height, width, channels] => [1, height, width, channels],
        [count, height, width, channels] => [count, height, width, channels],
        _ => return Err(bad(format!("shape {:?} is not [pictures, height, width, channels]", input.shape))),
    };
    let [count, height, width, channels] = shape;
    if !matches!(channels, 1 | 3) || shape.contains(&0) {
        return Err(bad(format!("shape {:?}: 1 or 3 channels come last, and no side is 0", input.shape)));
    }
    check_count(count, bounds)?;
    if height.saturating_mul(width) > bounds.pixels {
        let error = format!("pictures of {width}x{height} pixels are larger than {} pixels", bounds.pixels);
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error, "send smaller ones"));
    }
    let data = match binary_data(&input, binary)? {
        Some(bytes) => bytes,
        None => Bytes::from(input.data.ok_or_else(no_data)?.bytes),
    };
    let length = height * width * channels;
    if count.checked_mul(length) != Some(data.len() as u64) {
        return Err(bad(format!("shape {:?} does not have {} elements", input.shape, data.len())));
    }
    let length = length as usize;
    let shape = ImageShape { height: height as usize, width: width as usize, channels: channels as usize };
    Ok((0..count as usize).map(|at| Picture::Pixels(shape, data.slice(at * length..(at + 1) * length))).collect())
}

fn check_count(count: u64, bounds: Bounds) -> Result<(), Failure> {
    if count <= bounds.pictures as u64 {
        return Ok(());
    }
    let error = format!("{count} pictures are more than the {} of a request", bounds.pictures);
    Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send them in several requests"))
}

/// Pictures as files: each a length in four bytes, little end first, and so many bytes; in JSON, base64.
fn encoded(input: Input, binary: Bytes, bounds: Bounds) -> Result<Vec<Picture>, Failure> {
    let count = input.shape.iter().try_fold(1u64, |product, &side| product.checked_mul(side)).unwrap_or(u64::MAX);
    check_count(count, bounds)?;
    let files = match binary_data(&input, binary)? {
        Some(bytes) => split(bytes)?,
        None => {
            let decode = |(at, text): (usize, &String)| {
                let bytes = BASE64_STANDARD.decode(text);
                bytes.map(Bytes::from).map_err(|error| bad(format!("element {at} is not base64: {error}")))
            };
            let texts = input.data.ok_or_else(no_data)?.texts;
            texts.iter().enumerate().map(decode).collect::<Result<_, _>>()?
        }
    };
    if files.len() as u64 != count || files.is_empty() {
        return Err(bad(format!("shape {:?} does not have {} elements", input.shape, files.len())));
    }
    Ok(files.into_iter().map(Picture::Encoded).collect())
}

fn split(mut bytes: Bytes) -> Result<Vec<Bytes>, Failure> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let Some((&length, _)) = bytes.split_first_chunk::<4>() else {
            return Err(bad(format!("element {} has no length: it ends early", elements.len())));
        };
        let length = u32::from_le_bytes(length) as usize;
        if length > bytes.len() - 4 {
            let left = bytes.len() - 4;
            return Err(bad(format!("element {} has {length} bytes, but {left} are left", elements.len())));
        }
        elements.push(bytes.slice(4..4 + length));
        bytes = bytes.slice(4 + length..);
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { pictures: 4, pixels: 100, has_unknown: true };

    fn read(json: &str, binary: &[u8]) -> Result<Request, String> {
        let body = Bytes::from([json.as_bytes(), binary].concat());
        parse(&body, Some(json.len()), BOUNDS).map_err(|failure| failure.error)
    }

    fn pixels(request: &Request) -> Vec<(usize, usize, usize, Vec<u8>)> {
        let one = |picture: &Picture| match picture {
            Picture::Pixels(shape, bytes) => (shape.height, shape.width, shape.channels, bytes.to_vec()),
            Picture::Encoded(_) => panic!("encoded"),
        };
        request.pictures.iter().map(one).collect()
    }

    #[test]
    fn pixels_come_as_json_or_as_bytes() {
        let json = r#"{"id": "a", "inputs": [{"name": "images", "datatype": "UINT8", "shape": [2, 1, 2, 1],
                      "data": [[[[1], [2]]], [[[3], [4]]]]}]}"#;
        let expected = vec![(1, 2, 1, vec![1, 2]), (1, 2, 1, vec![3, 4])];
        let request = read(json, &[]).unwrap();
        assert_eq!((request.id.as_deref(), pixels(&request)), (Some("a"), expected.clone()));
        let both = ["probabilities", "unknown"].map(|name| Wanted { name, binary: false, classes: None });
        assert_eq!(request.outputs, both);
        let json = r#"{"parameters": {"binary_data_output": true}, "inputs": [{"name": "images", "datatype": "UINT8",
                      "shape": [2, 1, 2, 1], "parameters": {"binary_data_size": 4}}],
                      "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}"#;
        let request = read(json, &[1, 2, 3, 4]).unwrap();
        assert_eq!(pixels(&request), expected);
        assert_eq!(request.outputs, [Wanted { name: "probabilities", binary: true, classes: Some(3) }]);
    }

    #[test]
    fn files_come_as_base64_or_behind_their_lengths() {
        let files = |request: Request| -> Vec<Vec<u8>> {
            let one = |picture: Picture| match picture {
                Picture::Encoded(bytes) => bytes.to_vec(),
                Picture::Pixels(..) => panic!("pixels"),
            };
            request.pictures.into_iter().map(one).collect()
        };
        let json = r#"{"inputs": [{"name": "images", "datatype": "BYTES", "shape": [2], "data": ["YQ==", "Yg=="]}]}"#;
        assert_eq!(files(read(json, &[]).unwrap()), [b"a", b"b"]);
        let json = r#"{"inputs": [{"name": "images", "datatype": "BYTES", "shape": [2, 1],
                      "parameters": {"binary_data_size": 10}}]}"#;
        assert_eq!(files(read(json, b"\x01\0\0\0a\x01\0\0\0b").unwrap()), [b"a", b"b"]);
        assert!(read(json, b"\x01\0\0\0a\x05\0\0\0b").is_err_and(|e| e == "element 1 has 5 bytes, but 1 are left"));
        assert!(read(json, b"\x04\0\0\0aaaabb").is_err_and(|e| e.contains("ends early")));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let input = |rest: &str| format!(r#"{{"inputs": [{{"name": "images", {rest}}}]}}"#);
        let cases = [
            ("{}".to_string(), "missing field `inputs`"),
            (r#"{"inputs": []}"#.into(), "0 inputs"),
            (r#"{"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1]}]}"#.into(), "\"x\" is not known"),
            (input(r#""datatype": "FP32", "shape": [1]"#), "FP32"),
            (input(r#""datatype": "UINT8", "shape": [4]"#), "[4] is not"),
            (input(r#""datatype": "UINT8", "shape": [1, 1, 1, 2]"#), "1 or 3 channels"),
            (input(r#""datatype": "UINT8", "shape": [1, 1, 0, 1]"#), "no side is 0"),
            (input(r#""datatype": "UINT8", "shape": [5, 1, 1, 1]"#), "5 pictures are more"),
            (input(r#""datatype": "UINT8", "shape": [1, 11, 10, 1]"#), "larger than 100"),
            (input(r#""datatype": "UINT8", "shape": [1, 18446744073709551615, 2, 1]"#), "larger than 100"),
            (input(r#""datatype": "UINT8", "shape": [1, 1, 1, 1]"#), "neither data"),
            (input(r#""datatype": "UINT8", "shape": [1, 1, 2, 1], "data": [1]"#), "does not have 1"),
            (input(r#""datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [300]"#), "above 255"),
            (input(r#""datatype": "BYTES", "shape": [1], "data": ["*"]"#), "not base64"),
            (input(r#""datatype": "BYTES", "shape": [0], "data": []"#), "does not have 0"),
            (input(r#""datatype": "BYTES", "shape": [9999999999, 9999999999], "data": []"#), "more than the 4"),
            (
                input(r#""datatype": "UINT8", "shape": [1, 1, 1, 1], "parameters": {"binary_data_size": 7}"#),
                "is 7, but 0",
            ),
        ];
        for (json, reason) in cases {
            let error = read(&json, &[]).map(|_| ()).expect_err(&json);
            assert!(error.contains(reason), "{json}: {error}");
        }
        let body = Bytes::from_static(b"{}");
        assert!(parse(&body, Some(3), BOUNDS).is_err_and(|failure| failure.error.contains("is 3, but the body has 2")));
        let picture = input(r#""datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [1]"#);
        assert!(read(&picture, &[1]).is_err_and(|e| e.contains("no binary_data_size")));
        let picture = picture.replace("]}]}", r#"]}], "outputs": [{"name": "logits"}]}"#);
        assert!(read(&picture, &[]).is_err_and(|e| e.contains("\"logits\" is not known")));
    }
}
