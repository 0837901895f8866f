use super::{Place, listing, png};
use crate::{
    Result,
    data::{BadImages, Dataset, DatasetConfig, LabelKind, Source},
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
    let layout = "the first line must name the columns: file_name,label and, if there is one, split; for several labels an \
                  image, separate them by |, or give each class a column of 0 and 1";
    let cases: [(&[u8], &str, &str); 7] = [
        (b"", "data/labels.csv has no columns for files and labels: it begins \"\"", layout),
        (b"a,b\n1,2\n", "data/labels.csv has no columns for files and labels: it begins \"a,b\"", layout),
        (b"file_name,label\n", "data/labels.csv names no image", layout),
        (
            b"file_name,label\nd.png,cat\nimages/a.png,\n",
            "data/labels.csv, row 3: images/a.png has no label",
            "write its class, or remove the row; --labels several if images may show nothing",
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

/// `name {classes} split` of each sample of data with several labels.
fn listed_sets(source: &Source) -> Vec<String> {
    let sets = source.sets.as_ref().expect("several labels an image");
    let samples = (source.samples)().unwrap().map(Result::unwrap);
    samples.map(|sample| format!("{} {{{}}}", sample.name, sets.describe(sample.label, &source.classes))).collect()
}

fn open_as(place: &Place, labels: Option<LabelKind>) -> Result<Source> {
    Source::open(&DatasetConfig { labels, ..place.config_of(&place.root().join("labels.csv")) }, &place.listen())
}

#[test]
fn a_separator_in_a_cell_means_several_labels() {
    for (text, by) in [
        ("file_name,labels\nimages/a.png,dog | cat|dog\nd.png,\n\"images/b, \"\"c\"\".png\",bird\n", "|"),
        ("file_name,labels\nimages/a.png,dog; cat;\nd.png,\n\"images/b, \"\"c\"\".png\",bird\n", ";"),
    ] {
        let place = with_table(text.as_bytes());
        let source = open(&place).unwrap();
        assert_eq!(source.classes, ["bird", "cat", "dog"]);
        let listed = ["images/a.png {cat, dog}", "d.png {nothing}", "images/b, \"c\".png {bird}"];
        assert_eq!(listed_sets(&source), listed);
        let notes = place.notes();
        assert!(notes[0].starts_with("an image may show several classes: 1.00 on average, 1 of 3 images show none"));
        assert!(notes[0].contains(&format!("labels are separated by {by}: pass --labels one if ")), "{notes:?}");
        // The same again from the cache.
        for _ in 0..2 {
            let dataset = Dataset::from_source(&source, &place.config(), &place.listen()).unwrap();
            assert_eq!(dataset.class_counts(crate::data::Split::Train), [1, 1, 1]);
            let targets = dataset.sets.as_ref().unwrap().targets(&dataset.labels, 3);
            assert_eq!(targets, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        }
    }
}

#[test]
fn a_flag_decides_where_a_table_leaves_it_open() {
    let place = with_table(b"file_name,labels\nimages/a.png,a|b\nd.png,c\n");
    let source = open_as(&place, Some(LabelKind::One)).unwrap();
    assert_eq!((listing(&source), source.sets), (vec!["images/a.png a|b -".into(), "d.png c -".into()], None));
    let place = with_table(b"file_name,labels\nimages/a.png,\"a, b\"\nd.png,a\n");
    assert!(open(&place).unwrap().sets.is_none());
    let source = open_as(&place, Some(LabelKind::Several)).unwrap();
    assert_eq!(listed_sets(&source), ["images/a.png {a, b}", "d.png {a}"]);
}

#[test]
fn a_column_of_0_and_1_for_each_class_is_read() {
    let place = with_table(b"file_name,dog,cat,split\nimages/a.png,1,1,train\nd.png,0, 0.0 ,test\n");
    let source = open(&place).unwrap();
    assert_eq!(source.classes, ["cat", "dog"]);
    assert_eq!(listed_sets(&source), ["images/a.png {cat, dog}", "d.png {nothing}"]);
    // One class a row: classes that exclude each other.
    let place = with_table(b"file_name,dog,cat\nimages/a.png,1,0\nd.png,0,1\n");
    assert_eq!(listing(&open(&place).unwrap()), ["images/a.png dog -", "d.png cat -"]);
    assert!(place.notes()[0].contains("each row marks one class"));
    assert_eq!(listed_sets(&open_as(&place, Some(LabelKind::Several)).unwrap()), ["images/a.png {dog}", "d.png {cat}"]);
}

#[test]
fn names_the_row_of_a_wrong_label() {
    let cases: [(&[u8], Option<LabelKind>, &str); 8] = [
        (
            b"file_name,dog,cat\nimages/a.png,1,0\nd.png,2,0\n",
            None,
            "data/labels.csv, row 3: \"2\" in column \"dog\" is neither 0 nor 1",
        ),
        (
            b"file_name,dog,cat,width\nimages/a.png,1,0,640\nd.png,1,0,640\n",
            None,
            "data/labels.csv, row 2: \"640\" in column \"width\" is neither 0 nor 1",
        ),
        (b"file_name,dog,cat\nd.png,1,\n", Some(LabelKind::Several), "data/labels.csv has no columns"),
        (b"file_name,dog,dog\nd.png,1,0\n", None, "data/labels.csv, row 1: two columns are called \"dog\""),
        (
            b"file_name,dog,cat\nd.png,1,0\nimages/a.png,0,0\n",
            Some(LabelKind::One),
            "data/labels.csv, row 3: images/a.png has 0 classes",
        ),
        (
            b"file_name,labels\nd.png,a;b\nimages/a.png,a|b\n",
            None,
            "data/labels.csv, row 3: \"a|b\" is not separated as the labels of row 2",
        ),
        (
            b"file_name,labels\nd.png,a\nimages/a.png,a,b\n",
            None,
            "data/labels.csv, row 3: it has 3 cells, but there are 2 columns",
        ),
        (b"file_name,labels\nd.png,|\nimages/a.png,\n", None, "no image of data/labels.csv has a label"),
    ];
    for (text, labels, message) in cases {
        let place = with_table(text);
        let found = place.refusal(open_as(&place, labels));
        assert!(found[0].starts_with(message) && !found[1].is_empty(), "{found:?} is not {message}");
    }
}
