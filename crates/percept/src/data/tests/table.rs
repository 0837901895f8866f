use super::{Place, listing, png};
use crate::{
    Result,
    data::{BadImages, Dataset, DatasetConfig, Source},
};

fn with_table(text: &[u8]) -> Place {
    let place = Place::with(&["images/a.png", "images/b, \"c\".png", "d.png"]);
    place.write("labels.csv", text);
    place
}

fn open(place: &Place) -> Result<Source> {
    Source::open(&place.config_of(&place.root().join("labels.csv")), &place.listen())
}

#[test]
fn reads_a_table_with_splits_and_quotes() {
    let place = with_table(
        b"file_name,label,split\nimages/a.png,cat,train\n\"images/b, \"\"c\"\".png\",\"dog\",\n d.png , dog ,Test\n",
    );
    let source = open(&place).unwrap();
    assert_eq!(source.name, "labels");
    assert_eq!(listing(&source), ["images/a.png cat train", "images/b, \"c\".png dog train", "d.png dog test"]);
    assert_eq!(Dataset::open(&place.config_of(&place.root().join("labels.csv")), &place.listen()).unwrap().len(), 3);
}

#[test]
fn reads_what_spreadsheets_write() {
    for text in [
        "\u{feff}Image;Class\r\nimages\\a.png;cat\r\nd.png;dog\r\n",
        "id\tFILE NAME\tlabel\n1\timages/a.png\tcat\n2\td.png\tdog",
        "label,path\ncat,images/a.png\ndog,d.png\n\n",
    ] {
        let source = open(&with_table(text.as_bytes())).unwrap();
        let listed: Vec<_> = listing(&source).iter().map(|line| line.replace('\\', "/")).collect();
        assert_eq!(listed, ["images/a.png cat -", "d.png dog -"], "{text}");
    }
}

#[test]
fn names_the_row_that_is_wrong() {
    let layout = "the first line must name the columns: file_name,label and, if there is one, split";
    let cases: [(&[u8], &str, &str); 7] = [
        (b"", "data/labels.csv has no columns for files and labels: it begins \"\"", layout),
        (b"a,b\n1,2\n", "data/labels.csv has no columns for files and labels: it begins \"a,b\"", layout),
        (b"file_name,label\n", "data/labels.csv names no image", layout),
        (
            b"file_name,label\nd.png,cat\nimages/a.png,\n",
            "data/labels.csv, row 3: images/a.png has no label",
            "write its class, or remove the row",
        ),
        (b"file_name,label\n,cat\n", "data/labels.csv, row 2: there is no file name", layout),
        (
            b"file_name,label,split\nd.png,cat,holdout\n",
            "data/labels.csv, row 2: \"holdout\" is not a split",
            "write train, validation or test, or leave it empty for train",
        ),
        (
            b"file_name,label\nd.png,cat\nd.png,\xe9t\xe9\n",
            "data/labels.csv is damaged: line 3 is not UTF-8 text",
            "save the table as CSV in UTF-8",
        ),
    ];
    for (text, message, hint) in cases {
        let place = with_table(text);
        assert_eq!(place.refusal(open(&place)), [message, hint]);
    }
}

#[test]
fn names_missing_files_with_their_rows() {
    let place = with_table(b"file_name,label\nd.png,cat\nx/y.png,dog\nz.png,dog\nimages/a.png,dog\n");
    let config = place.config_of(&place.root().join("labels.csv"));
    let dataset = Dataset::open(&config, &place.listen()).unwrap();
    assert_eq!(dataset.names, ["d.png", "images/a.png"]);
    let names: Vec<_> = dataset.unreadable.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["x/y.png (row 3)", "z.png (row 4)"]);
    assert_eq!(place.notes()[0], "data/labels.csv, row 3: there is no file x/y.png and 1 more");

    let strict = DatasetConfig { bad_images: BadImages::Fail, ..config };
    assert_eq!(
        place.refusal(Dataset::open(&strict, &place.listen())),
        [
            "data/labels.csv, row 3: there is no file x/y.png and 1 more",
            "paths count from the table's own folder, data"
        ]
    );

    let elsewhere = with_table(b"file_name,label\nq/d.png,cat\nq/x.png,dog\n");
    assert_eq!(elsewhere.refusal(open(&elsewhere))[0], "data/labels.csv, row 2: there is no file q/d.png and 1 more");
}

#[test]
fn one_class_is_refused() {
    let place = with_table(b"file_name,label\nd.png,cat\nimages/a.png,cat\n");
    place.write("other.png", &png(7));
    assert_eq!(
        place.refusal(open(&place))[0],
        "data/labels.csv holds one class only, \"cat\": there is nothing to tell apart"
    );
}
