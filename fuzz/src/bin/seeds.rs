//! Writes small sound files into `corpus/`, for the fuzzer to start from: `cargo +nightly run --release --bin seeds`.

use std::{
    error::Error,
    fs, iter,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use percept::{
    image::{Fit, Image, ImageShape, encode_png},
    model::{self, ModelConfig, Parameters},
    weights::{self, ModelCard},
};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = here.join("../crates/percept/src");
    let corpus = here.join("corpus");
    pictures(&source.join("image/testdata"), &folder(corpus.join("picture"))?)?;
    model_files(&folder(corpus.join("model_file"))?)?;
    pretrained(&source.join("weights/testdata"), &folder(corpus.join("pretrained"))?)?;
    datasets(&source.join("pickle/testdata"), &folder(corpus.join("dataset"))?)?;
    requests(&folder(corpus.join("infer_request"))?, &folder(corpus.join("form"))?)
}

fn folder(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn pictures(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension != "py") {
            fs::write(into.join(path.file_name().unwrap_or_default()), [&[0], &fs::read(&path)?[..]].concat())?;
        }
    }
    Ok(())
}

/// Whole files of the smallest model, and headers alone of all.
fn model_files(into: &Path) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    for (row, side) in model::MODELS.iter().zip([3, 4].into_iter().chain(iter::repeat(32))) {
        let input = ImageShape { height: side, width: side, channels: 1 };
        let config = ModelConfig { input, classes: 2, hidden: 2, per_pixel: side == 3, conventions: None };
        let graph = model::build(row.name, &config)?;
        let numbers = Parameters::initialize(&graph, 1);
        let card = ModelCard::new(row.name, config, vec!["cat".into(), "dog".into()], Fit::default());
        let path = temporary.path().join(row.name);
        weights::save(&path, &card, &graph, &numbers, None, None)?;
        let bytes = fs::read(path)?;
        let header = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
        fs::write(into.join(format!("{}-header", row.name)), [b"h", &bytes[8..8 + header]].concat())?;
        if bytes.len() < 10_000 {
            fs::write(into.join(row.name), bytes)?;
        }
    }
    Ok(())
}

/// PyTorch's files of every format.
fn pretrained(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pth") {
            fs::copy(&path, into.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// A file of each kind, after the byte that names it; see the target `dataset`.
fn datasets(pickles: &Path, into: &Path) -> Result<()> {
    let seed = |name: &str, kind: u8, bytes: &[u8]| fs::write(into.join(name), [&[kind], bytes].concat());
    seed("csv", 0, b"file_name,label,split\na.png,cat,train\nb.png,\"d,og\",test\n")?;
    seed("tsv", 1, b"image\tclass\na.png\tcat\nb.png\tdog\n")?;
    seed("parquet", 2, &rows()?)?;
    for protocol in [0, 2, 3, 5] {
        let pickle = fs::read(pickles.join(format!("protocol{protocol}.pickle")))?;
        // As long again: the other half of the bytes is another file.
        seed(&format!("pickle{protocol}"), 3, &[&pickle[..], &pickle].concat())?;
    }
    seed("binary", 4, &[3; 3_073])?;
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3], &[9; 18][..]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 2, 1, 0], &[0; 24][..]].concat();
    seed("idx", 5, &[images, labels].concat())?;
    Ok(())
}

/// Inference requests, after the length of their JSON, and a form.
fn requests(infer: &Path, form: &Path) -> Result<()> {
    let seed = |name: &str, head: u16, body: &[u8]| fs::write(infer.join(name), [&head.to_le_bytes(), body].concat());
    let request = |input: &str| {
        format!(r#"{{"id":"a","inputs":[{{"name":"images",{input}}}],"outputs":[{{"name":"probabilities"}}]}}"#)
    };
    let json = request(r#""datatype":"UINT8","shape":[2,1,2,1],"data":[[[[1],[2]]],[[[3],[4]]]]"#);
    seed("json", u16::MAX, json.as_bytes())?;
    let json = request(r#""datatype":"BYTES","shape":[2],"data":["YQ==","Yg=="]"#);
    seed("base64", u16::MAX, json.as_bytes())?;
    let json = request(r#""datatype":"UINT8","shape":[1,1,4,1],"parameters":{"binary_data_size":4}"#);
    seed("binary", u16::try_from(json.len())?, &[json.as_bytes(), &[1, 2, 3, 4]].concat())?;
    let json = request(r#""datatype":"BYTES","shape":[2,1],"parameters":{"binary_data_size":10}"#);
    seed("files", u16::try_from(json.len())?, &[json.as_bytes(), b"\x01\0\0\0a\x01\0\0\0b"].concat())?;
    let part = "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nxyz\r\n";
    fs::write(form.join("two"), [part, part, "--b--\r\n"].concat())?;
    let token = "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nopen-sesame\r\n";
    fs::write(form.join("token"), [token, part, "--b--\r\n"].concat())?;
    Ok(())
}

fn rows() -> Result<Vec<u8>> {
    let schema = "message m { optional group img { optional binary bytes; } optional int64 label; }";
    let picture = Image { shape: ImageShape { height: 2, width: 2, channels: 3 }, pixels: vec![9; 12] };
    let picture = ByteArray::from(encode_png(&picture));
    let mut file = Vec::new();
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(&mut file, Arc::new(parse_message_type(schema)?), properties)?;
    let mut group = writer.next_row_group()?;
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(&[picture.clone(), picture], Some(&[2, 2]), None)?;
        column.close()?;
    }
    if let Some(mut column) = group.next_column()? {
        column.typed::<Int64Type>().write_batch(&[0, 1], Some(&[1, 1]), None)?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(file)
}
