use std::{fs, path::Path, sync::Arc};

use ::parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{Place, bytes_of, listing, png, samples};
use crate::{
    Result,
    data::{Dataset, DatasetConfig, Source, probe},
};

const HUGGING_FACE: &str = r#"{"info": {"features": {
    "img": {"_type": "Image"}, "coarse_label": {"names": ["pet"], "_type": "ClassLabel"},
    "fine_label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}}}}"#;
const NUMBERS: &str = "message m {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 coarse_label; optional int64 fine_label; }";

/// A row: image bytes, path, label.
type Row<'a> = (Option<Vec<u8>>, Option<&'a str>, Option<i64>);

/// Writes rows in groups of `group`, the labels into both label columns.
fn write(path: &Path, rows: &[Row], group: usize, metadata: Option<&str>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pairs = metadata.map(|text| vec![KeyValue::new("huggingface".to_owned(), text.to_owned())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(3)
        .set_write_batch_size(2)
        .set_key_value_metadata(pairs)
        .build();
    let schema = Arc::new(parse_message_type(NUMBERS).unwrap());
    let mut writer = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut out = writer.next_row_group().unwrap();
        let mut text = |values: Vec<Option<ByteArray>>| {
            let levels: Vec<i16> = values.iter().map(|value| if value.is_some() { 2 } else { 1 }).collect();
            let values: Vec<_> = values.into_iter().flatten().collect();
            let mut column = out.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        };
        text(rows.iter().map(|row| row.0.clone().map(ByteArray::from)).collect());
        text(rows.iter().map(|row| row.1.map(ByteArray::from)).collect());
        for _ in 0..2 {
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.2.is_some())).collect();
            let values: Vec<i64> = rows.iter().filter_map(|row| row.2).collect();
            let mut column = out.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        out.close().unwrap();
    }
    writer.close().unwrap();
}

fn rows(labels: &[i64]) -> Vec<Row<'static>> {
    (0..).zip(labels).map(|(seed, &label)| (Some(png(seed)), None, Some(label))).collect()
}

fn open(place: &Place, path: &str) -> Result<Source> {
    Source::open(&place.config_of(&place.root().join(path)), &place.listen())
}

#[test]
fn reads_rows_across_groups_and_pages() {
    let place = Place::new();
    let labels: Vec<i64> = (0..25).map(|i| i % 3).collect();
    write(&place.root().join("pets.parquet"), &rows(&labels), 10, Some(HUGGING_FACE));
    let source = open(&place, "pets.parquet").unwrap();
    assert_eq!((source.name.as_str(), source.classes.join(" ").as_str()), ("pets", "cat dog emu"));
    let read = samples(&source);
    assert_eq!(read.len(), 25);
    for (seed, sample) in (0..).zip(&read) {
        assert_eq!((sample.name.clone(), sample.label, sample.split), (format!("pets.parquet#{seed}"), seed % 3, None));
        assert_eq!(bytes_of(&sample.picture), png(seed));
    }
    let every_seventh: Vec<_> = (source.samples)().unwrap().step_by(7).map(|sample| sample.unwrap()).collect();
    assert_eq!(every_seventh.len(), 4);
    for (sample, seed) in every_seventh.iter().zip([0, 7, 14, 21]) {
        assert_eq!(bytes_of(&sample.picture), png(seed));
    }
    assert_eq!(probe(&source).unwrap().train, Some(25));
    let dataset = Dataset::open(&place.config_of(&place.root().join("pets.parquet")), &place.listen()).unwrap();
    assert_eq!(dataset.len(), 25);
}

#[test]
fn takes_splits_from_names_of_files_or_folders() {
    for folder in ["", "data", "plain_text"] {
        let place = Place::new();
        let write = |name: &str, labels: &[i64]| {
            write(&place.root().join(folder).join(name), &rows(labels), 9, Some(HUGGING_FACE));
        };
        write("train-00001-of-00002.parquet", &[2]);
        write("train-00000-of-00002.parquet", &[0, 1]);
        write("validation-00000-of-00001.parquet", &[1]);
        write("test-00000-of-00001.parquet", &[0]);
        write("unsupervised-00000-of-00001.parquet", &[0]);
        let source = place.source().unwrap();
        assert_eq!(
            listing(&source),
            [
                "test-00000-of-00001.parquet#0 cat test",
                "train-00000-of-00002.parquet#0 cat train",
                "train-00000-of-00002.parquet#1 dog train",
                "train-00001-of-00002.parquet#0 emu train",
                "validation-00000-of-00001.parquet#0 dog validation"
            ]
        );
        assert!(place.notes()[0].starts_with("left out 1 Parquet files whose names begin with no split"));
    }
    let place = Place::new();
    write(&place.root().join("train/0000.parquet"), &rows(&[0, 1]), 9, None);
    write(&place.root().join("test/0000.parquet"), &rows(&[1]), 9, None);
    assert_eq!(
        listing(&place.source().unwrap()),
        ["0000.parquet#0 1 test", "0000.parquet#0 0 train", "0000.parquet#1 1 train"]
    );
    write(&place.root().join("other/0000.parquet"), &rows(&[1]), 9, None);
    assert_eq!(
        place.refusal(place.source()),
        ["data holds Parquet files in several folders: other, test, train", "give one of these folders"]
    );
}

#[test]
fn leaves_out_unlabelled_rows_and_follows_paths_inside_only() {
    let place = Place::new();
    place.write("beside.png", &png(50));
    let secret = place.folder.path().join("secret.png");
    fs::write(&secret, png(51)).unwrap();
    let rows = [
        (Some(png(0)), None, Some(-1)),
        (None, Some("beside.png"), Some(0)),
        (Some(png(2)), Some("x.png"), None),
        (None, Some("../secret.png"), Some(1)),
        (None, Some(secret.to_str().unwrap()), Some(1)),
        (None, None, Some(1)),
        (Some(png(6)), None, Some(1)),
    ];
    write(&place.root().join("p.parquet"), &rows, 2, None);
    let path = place.root().join("p.parquet");
    let dataset = Dataset::open(&place.config_of(&path), &place.listen()).unwrap();
    assert_eq!(dataset.classes, ["0", "1"]);
    assert_eq!(dataset.names, ["p.parquet#1", "p.parquet#6"]);
    let unreadable: Vec<_> = dataset.unreadable.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(unreadable, ["p.parquet#3", "p.parquet#4", "p.parquet#5"]);
    assert_eq!(place.notes()[0], "left out 2 images without a label");
}

#[test]
fn reads_names_as_labels_and_bytes_without_a_group() {
    let place = Place::new();
    let schema = "message m { required binary label (UTF8); required binary image; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let path = place.write("t.parquet", b"");
    let mut writer = SerializedFileWriter::new(fs::File::create(&path).unwrap(), schema, Default::default()).unwrap();
    let mut out = writer.next_row_group().unwrap();
    for values in [vec![b"dog".to_vec(), b"cat".to_vec(), b"dog".to_vec()], vec![png(0), png(1), png(2)]] {
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        let mut column = out.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    out.close().unwrap();
    writer.close().unwrap();
    let source = open(&place, "t.parquet").unwrap();
    assert_eq!(listing(&source), ["t.parquet#0 dog -", "t.parquet#1 cat -", "t.parquet#2 dog -"]);
    assert_eq!(bytes_of(&samples(&source)[2].picture), png(2));
}

#[test]
fn names_what_is_wrong() {
    let place = Place::new();
    place.write("a.parquet", b"PAR1 and nothing else");
    assert!(place.refusal(open(&place, "a.parquet"))[0].starts_with("data/a.parquet is damaged: "));

    write(&place.root().join("b.parquet"), &rows(&[0, 1, 3]), 2, Some(HUGGING_FACE));
    assert_eq!(
        place.refusal(open(&place, "b.parquet")),
        [
            "data/b.parquet, row 2: label 3 is none of the 3 classes",
            "correct the label, or the class names in the file's metadata"
        ]
    );
    write(&place.root().join("c.parquet"), &rows(&[0, 1, i64::MAX]), 2, None);
    assert_eq!(
        place.refusal(open(&place, "c.parquet"))[0],
        "data/c.parquet, row 2: label 4294967295 is none of the 65536 classes"
    );
    let schema = Arc::new(parse_message_type("message m { required binary text; }").unwrap());
    let path = place.write("d.parquet", b"");
    let writer = SerializedFileWriter::new(fs::File::create(&path).unwrap(), schema, Default::default()).unwrap();
    writer.close().unwrap();
    assert_eq!(
        place.refusal(open(&place, "d.parquet"))[0],
        "data/d.parquet has no column of images (image or img, with bytes); its columns are text"
    );
    write(&place.root().join("e.parquet"), &[], 2, Some(HUGGING_FACE));
    assert_eq!(place.refusal(open(&place, "e.parquet"))[0], "data/e.parquet holds no labelled image");
}

#[test]
fn damage_anywhere_is_an_error_and_no_panic() {
    let place = Place::new();
    let path = place.root().join("p.parquet");
    write(&path, &rows(&[0, 1, 2, 0, 1, 2, 1, 2]), 3, Some(HUGGING_FACE));
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] = bytes[at].wrapping_add(1 + (at % 255) as u8);
        fs::write(&path, &bytes).unwrap();
        if let Ok(source) = Source::open(&DatasetConfig { test: 1.0, ..place.config_of(&path) }, &|_| {}) {
            let _: Vec<_> = (source.samples)().unwrap().collect();
        }
    }
    for length in (0..sound.len()).step_by(13) {
        fs::write(&path, &sound[..length]).unwrap();
        assert!(Source::open(&place.config_of(&path), &|_| {}).is_err(), "cut to {length} bytes");
    }
}

const LISTS: &str = "message m {
    optional group image { optional binary bytes; }
    optional group labels (LIST) { repeated group list { optional int64 element; } } }";
const NAMED: [&str; 2] = [
    r#"{"info": {"features": {"image": {"_type": "Image"},
        "labels": {"feature": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}, "_type": "Sequence"}}}}"#,
    r#"{"info": {"features": {"image": {"_type": "Image"}, "labels": [{"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}]}}}"#,
];

/// Writes a picture a row, with a list of labels: none of it where there is no list.
fn write_lists(path: &Path, rows: &[Option<&[i64]>], metadata: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pairs = vec![KeyValue::new("huggingface".to_owned(), metadata.to_owned())];
    let properties =
        WriterProperties::builder().set_data_page_row_count_limit(2).set_key_value_metadata(Some(pairs)).build();
    let schema = Arc::new(parse_message_type(LISTS).unwrap());
    let mut writer = SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for (group, rows) in (0..).zip(rows.chunks(3)) {
        let mut out = writer.next_row_group().unwrap();
        let mut column = out.next_column().unwrap().unwrap();
        let pictures: Vec<_> = (0..rows.len()).map(|row| ByteArray::from(png(3 * group + row as u32))).collect();
        column.typed::<ByteArrayType>().write_batch(&pictures, Some(&vec![2; rows.len()]), None).unwrap();
        column.close().unwrap();
        let (mut values, mut present, mut begins) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let list = row.unwrap_or_default();
            if list.is_empty() {
                present.push(i16::from(row.is_some()));
                begins.push(0);
            }
            for (place, &label) in list.iter().enumerate() {
                values.push(label);
                present.push(3);
                begins.push(i16::from(place > 0));
            }
        }
        let mut column = out.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&values, Some(&present), Some(&begins)).unwrap();
        column.close().unwrap();
        out.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn lists_of_labels_are_several_labels_an_image() {
    for metadata in NAMED {
        let place = Place::new();
        let rows: [Option<&[i64]>; 5] = [Some(&[2, 0]), Some(&[]), None, Some(&[1]), Some(&[0, 2])];
        write_lists(&place.root().join("pets.parquet"), &rows, metadata);
        let source = open(&place, "pets.parquet").unwrap();
        let sets = source.sets.clone().unwrap();
        let shown = |sample: crate::data::Sample| {
            (sample.name, sets.describe(sample.label, &source.classes), bytes_of(&sample.picture).to_vec())
        };
        let listed: Vec<_> = samples(&source).into_iter().map(shown).collect();
        let expected = [(0, "cat, emu"), (1, "nothing"), (3, "dog"), (4, "cat, emu")];
        let expected = expected.map(|(row, said)| (format!("pets.parquet#{row}"), said.to_owned(), png(row)));
        assert_eq!(listed, expected);
        let notes = place.notes();
        assert_eq!(notes[0], "an image may show several classes: 1.25 on average");
        assert_eq!(notes[1], "left out 1 images without a label");
    }
    let place = Place::new();
    write_lists(&place.root().join("pets.parquet"), &[Some(&[0, 7])], NAMED[0]);
    let refusal = place.refusal(open(&place, "pets.parquet"));
    assert_eq!(refusal[0], "data/pets.parquet, row 0: label 7 is none of the 3 classes");
}
