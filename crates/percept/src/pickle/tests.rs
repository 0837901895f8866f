use super::{machine::MAX_VALUES, *};

/// What Python 2 wrote: a dict of byte strings, a list of labels, an array of u8 (as CIFAR's batches).
pub(crate) fn python2_batch(labels: &[u8], pixels: &[u8], width: usize) -> Vec<u8> {
    let short = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let mut out = b"\x80\x02}q\x00(".to_vec();
    out.extend([short("batch_label"), b"q\x01".to_vec(), short("training batch 1 of 5"), b"q\x02".to_vec()].concat());
    out.extend([short("labels"), b"q\x03]q\x04(".to_vec()].concat());
    out.extend(labels.iter().flat_map(|&label| [b'K', label]));
    out.extend([b"e".to_vec(), short("data"), b"q\x05cnumpy.core.multiarray\n_reconstruct\n".to_vec()].concat());
    out.extend([b"q\x06cnumpy\nndarray\nq\x07K\x00\x85".to_vec(), short("b"), b"\x87Rq\x08(K\x01".to_vec()].concat());
    for side in [labels.len(), width] {
        out.extend([b"J".as_slice(), &(side as u32).to_le_bytes()].concat());
    }
    out.extend([b"\x86cnumpy\ndtype\nq\x09".to_vec(), short("u1"), b"K\x00K\x01\x87Rq\x0a(K\x03".to_vec()].concat());
    out.extend([short("|"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T".to_vec()].concat());
    out.extend([&(pixels.len() as u32).to_le_bytes(), pixels, b"tbu."].concat());
    out
}

fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    Pickle::read(bytes)
}

/// Made by Python 3.11 and NumPy 2: `{"labels": [1, -2, 300, 70000], b"data": numpy.array([[1, 200], [3, 4]], "u1"),
/// "more": numpy.array([5, -6], ">i4")}`, in protocols 0, 2, 3 and 5.
const BY_PYTHON: [&[u8]; 4] = [
    include_bytes!("testdata/protocol0.pickle"),
    include_bytes!("testdata/protocol2.pickle"),
    include_bytes!("testdata/protocol3.pickle"),
    include_bytes!("testdata/protocol5.pickle"),
];

#[test]
fn every_protocol_gives_the_same_data() {
    for bytes in BY_PYTHON {
        let pickle = read(bytes).unwrap();
        let integers = |key| pickle.integers(pickle.entry(key).unwrap());
        assert_eq!(integers("labels"), Some(vec![1, -2, 300, 70_000]));
        assert_eq!(integers("more"), Some(vec![5, -6]));
        let (shape, data) = pickle.byte_array(pickle.entry("data").unwrap()).unwrap();
        assert_eq!((shape, data.within(bytes)), (&[2, 2][..], &[1, 200, 3, 4][..]));
        assert_eq!(pickle.entry("nothing"), None);
    }
}

#[test]
fn a_python_2_batch_is_read_as_data() {
    let bytes = python2_batch(&[7, 0, 9], &[1, 2, 3, 4, 5, 6], 2);
    let pickle = read(&bytes).unwrap();
    assert_eq!(pickle.integers(pickle.entry("labels").unwrap()), Some(vec![7, 0, 9]));
    let (shape, data) = pickle.byte_array(pickle.entry("data").unwrap()).unwrap();
    assert_eq!((shape, data.within(&bytes)), (&[3, 2][..], &[1, 2, 3, 4, 5, 6][..]));
}

#[test]
fn whatever_would_call_code_is_refused_by_name() {
    let reason = |bytes: &[u8]| read(bytes).unwrap_err();
    assert_eq!(reason(b"cposix\nsystem\n(S'id'\ntR."), "refuses to call posix.system (at byte 0 of 24)");
    assert_eq!(
        reason(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."),
        "refuses to call builtins.eval (at byte 18 of 20)"
    );
    assert_eq!(reason(b"(S'id'\nios\nsystem\n."), "refuses to call os.system (at byte 7 of 19)");
    assert_eq!(reason(b"cnumpy\nload\n."), "refuses to call numpy.load (at byte 0 of 13)");
    assert_eq!(reason(b")N\x81."), "refuses to build an object (at byte 2 of 4)");
    assert_eq!(reason(b"Pname\n."), "refuses to load what lies outside the file (at byte 0 of 7)");
    assert_eq!(reason(b"]N)R."), "refuses to call a value (at byte 3 of 5)");
    assert_eq!(reason(b"}}b."), "refuses to set an object's state (at byte 2 of 4)");
    assert_eq!(reason(b"]N"), "the pickle ends early (at byte 2 of 2)");
    let long = [b"c".as_slice(), &[b'a'; 500], b"\n\x1b[0m\n."].concat();
    assert!(reason(&long).starts_with(&format!("refuses to call {}.\\u{{1b}}[0m", "a".repeat(80))));
}

#[test]
fn an_array_must_hold_what_its_shape_says() {
    let mut bytes = python2_batch(&[1, 2], &[1, 2, 3, 4], 2);
    let at = bytes.windows(5).position(|part| part == [b'J', 2, 0, 0, 0]).unwrap();
    bytes[at + 1..at + 5].copy_from_slice(&i32::MAX.to_le_bytes());
    let reason = read(&bytes).unwrap_err();
    assert!(reason.starts_with("an array of shape [2147483647, 2] with 4 bytes (at byte "), "{reason}");
}

#[test]
fn memory_is_bounded() {
    let reason = |bytes: &[u8]| read(bytes).unwrap_err();
    assert!(reason(&vec![b'N'; MAX_VALUES + 10]).starts_with("more than 2000000 values (at byte 2000000"));
    assert!(reason(&vec![b'('; MAX_VALUES + 10]).starts_with("more than 2000000 values"));
    let doubled = [b"N".as_slice(), &vec![b'2'; MAX_VALUES + 10]].concat();
    assert!(reason(&doubled).starts_with("more than 2000000 values"));
    // One text of 1,000 bytes, encoded over and over.
    let text = [b"X".as_slice(), &1000u32.to_le_bytes(), &[b'a'; 1000], b"q\x000c_codecs\nencode\nq\x01"].concat();
    let bomb = [text, b"h\x01h\x00\x85R0".repeat(1000)].concat();
    assert!(reason(&bomb).starts_with("more bytes than the file holds"), "{}", reason(&bomb));
    assert!(reason(b"T\xff\xff\xff\x7fabc.").starts_with("the pickle ends early"));
    assert!(reason(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.").starts_with("the pickle ends early"));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = 7u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let batch = python2_batch(&[1, 2, 3], &[9; 12], 4);
    for original in BY_PYTHON.into_iter().chain([batch.as_slice()]) {
        for length in 0..original.len() {
            assert!(read(&original[..length]).is_err(), "cut at {length}");
        }
        for _ in 0..20_000 {
            let mut bytes = original.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
            if let Ok(pickle) = read(&bytes) {
                for key in ["labels", "data", "more"] {
                    if let Some(id) = pickle.entry(key) {
                        let _ = (pickle.integers(id), pickle.byte_array(id));
                    }
                }
            }
        }
    }
}
