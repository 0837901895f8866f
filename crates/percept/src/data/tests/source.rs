use super::{Place, encode, png};
use crate::data::{DatasetConfig, Listener, Probe, Source, probe};
use image::ImageFormat;

#[test]
fn says_both_possibilities_where_a_word_is_neither() {
    let place = Place::new();
    let open = |data: &str| Source::open(&DatasetConfig::new(data), &place.listen() as Listener);
    assert_eq!(
        place.refusal(open("petz")),
        [
            "\"petz\" is neither a path that exists nor the name of a dataset",
            "check the path for a typing mistake, or choose one of the names that `percept data list` shows"
        ]
    );
    assert_eq!(place.refusal(open("CIFAR-10"))[1], "did you mean cifar10? `percept data list` shows every name");
    assert_eq!(place.refusal(open("./petz"))[0], "there is no file or folder at ./petz");
    assert_eq!(place.refusal(open(""))[0], "\"\" is neither a path that exists nor the name of a dataset");
}

#[test]
fn refuses_files_of_other_kinds() {
    let place = Place::new();
    for (name, message) in [
        ("a.JPG", "data/a.JPG is one image, not a set of labelled images"),
        ("a.docx", "data/a.docx is not a kind of data that Percept reads"),
    ] {
        let path = place.write(name, &png(0));
        let source = Source::open(&place.config_of(&path), &place.listen());
        assert_eq!(place.refusal(source)[0], message);
    }
}

#[test]
fn probes_sizes_from_headers() {
    let place = Place::new();
    for (i, (height, width)) in [(4, 6), (8, 10), (12, 30)].into_iter().enumerate() {
        let mut bytes = encode(0, height, width, ImageFormat::Png);
        bytes.truncate(64); // the header is enough
        place.write(&format!("cat/{i}.png"), &bytes);
    }
    place.write("dog/broken.png", b"not an image");
    let source = place.source().unwrap();
    let expected = Probe { images: 3, uniform: false, height: 8, width: 10, train: Some(4) };
    assert_eq!(probe(&source).unwrap(), expected);

    let uniform = Place::new();
    for i in 0..600 {
        uniform.write(&format!("{}/{i}.png", i % 2), &png(i));
    }
    let found = probe(&uniform.source().unwrap()).unwrap();
    assert_eq!(found, Probe { images: 200, uniform: true, height: 8, width: 8, train: Some(600) });
}

#[test]
fn a_probe_of_nothing_readable_says_so() {
    let place = Place::new();
    place.write("cat/1.png", b"x");
    place.write("dog/1.png", b"x");
    assert_eq!(
        place.refusal(probe(&place.source().unwrap())),
        ["data holds no image that can be read", "see what is wrong with each file: percept data inspect"]
    );
}
