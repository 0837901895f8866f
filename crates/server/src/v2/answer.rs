//! The answer to an inference request: tensors as JSON, or as bytes behind it, or the likeliest classes as texts.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{PROBABILITIES, request::Wanted};
use crate::{batcher::Row, model::Loaded};

/// Says how many bytes of a body are JSON, where tensors follow it.
pub(crate) const HEAD_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Floats(Vec<f32>),
    Truths(Vec<bool>),
    Texts(Vec<String>),
}

impl Data {
    /// As the binary-tensor extension has it.
    fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Floats(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::Truths(values) => bytes.extend(values.iter().map(|&value| u8::from(value))),
            Self::Texts(texts) => {
                for text in texts {
                    bytes.extend((text.len() as u32).to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
    }
}

pub(crate) fn write(name: &str, loaded: &Loaded, id: Option<&str>, wanted: &[Wanted], rows: &[Row]) -> Response {
    let mut binary = Vec::new();
    let outputs = wanted.iter().map(|wanted| {
        let (datatype, shape, data) = tensor(loaded, wanted, rows);
        let before = binary.len();
        if wanted.binary {
            data.append_to(&mut binary);
        }
        let parameters = wanted.binary.then(|| Parameters { binary_data_size: binary.len() - before });
        Output { name: wanted.name, datatype, shape, parameters, data: (!wanted.binary).then_some(data) }
    });
    let head = Head { model_name: name, model_version: loaded.version.to_string(), id, outputs: outputs.collect() };
    if !wanted.iter().any(|wanted| wanted.binary) {
        return axum::Json(head).into_response();
    }
    // It holds nothing that JSON cannot say.
    let mut body = serde_json::to_vec(&head).unwrap_or_default();
    let length = HeaderValue::from(body.len());
    body.append(&mut binary);
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")), (HEAD_LENGTH, length)], body)
        .into_response()
}

fn tensor(loaded: &Loaded, wanted: &Wanted, rows: &[Row]) -> (&'static str, Vec<usize>, Data) {
    let classes = &loaded.card.classes;
    match wanted.classes {
        _ if wanted.name != PROBABILITIES => {
            ("BOOL", vec![rows.len()], Data::Truths(rows.iter().map(|row| row.unknown).collect()))
        }
        Some(count) => {
            let count = count.min(classes.len());
            let text = |(label, probability): (usize, f32)| format!("{probability:.6}:{label}:{}", classes[label]);
            let texts = rows.iter().flat_map(|row| row.ranked(count).map(text)).collect();
            ("BYTES", vec![rows.len(), count], Data::Texts(texts))
        }
        None => {
            let values = rows.iter().flat_map(|row| row.probabilities.iter().copied()).collect();
            ("FP32", vec![rows.len(), classes.len()], Data::Floats(values))
        }
    }
}
