//! The datasets that have a name: one table, and nothing else. Checksums are those that the publishers list
//! (for MNIST, KMNIST and EMNIST, whose publishers list none, those that torchvision checks).

/// A dataset that is known by name.
#[derive(Debug)]
pub struct Entry {
    /// The name, as typed.
    pub name: &'static str,
    /// The name, as written.
    pub title: &'static str,
    /// What the pictures show, in a few words.
    pub about: &'static str,
    /// Height, width and channels of every picture.
    pub shape: [usize; 3],
    /// Pictures for training, or all where no split is published.
    pub train: usize,
    /// Pictures for the test; 0 where no split is published.
    pub test: usize,
    /// Class names, by label.
    pub classes: &'static [&'static str],
    /// Whether a mirrored picture is still of its class, and to be expected.
    pub mirrors: bool,
    /// The publisher's page.
    pub page: &'static str,
    /// What may be done with it, as far as the publisher says.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// What is downloaded; nothing for data inside the program.
    pub files: &'static [RemoteFile],
    /// Sub-folders in which the files are looked for too: its own name first, then other tools' habits.
    pub(super) folders: &'static [&'static str],
    pub(super) layout: Layout,
}

impl Entry {
    /// One line for a list: `CIFAR-10: small colour photographs of animals and vehicles; 60000 of 32x32 in 10 classes`.
    pub fn summary(&self) -> String {
        let (images, [height, width, _]) = (self.train + self.test, self.shape);
        format!("{}: {}; {images} of {height}x{width} in {} classes", self.title, self.about, self.classes.len())
    }
}

/// A published file.
#[derive(Debug)]
pub struct RemoteFile {
    /// Its name.
    pub name: &'static str,
    /// Its addresses, the first tried first.
    pub urls: &'static [&'static str],
    /// Its size in bytes, where known.
    pub bytes: Option<u64>,
    /// Its MD5 checksum: 32 hexadecimal digits.
    pub md5: &'static str,
}

/// How the files hold the pictures.
#[derive(Debug)]
pub(super) enum Layout {
    /// Inside the program.
    Embedded,
    /// CIFAR's binary or Python batches.
    Cifar(&'static super::cifar::Kind),
    /// IDX files.
    Idx(super::idx::Layout),
}

/// Every dataset that has a name.
pub fn catalogue() -> &'static [Entry] {
    &ENTRIES
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
/// Digits, capitals, and those small letters that differ from their capitals in more than size.
#[rustfmt::skip]
const MERGED: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "d", "e", "f", "g", "h", "n", "q", "r",
    "t",
];
#[rustfmt::skip]
const CHARACTERS: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
    "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z",
];
#[rustfmt::skip]
const LETTERS: &[&str] = &[
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W",
    "X", "Y", "Z",
];
const CIFAR10: &[&str] = &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
#[rustfmt::skip]
const CIFAR100: &[&str] = &[
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
];

/// The four files of MNIST and of those that follow it: addresses by base, sizes and checksums by file.
macro_rules! idx_files {
    ([$($base:literal),+], [$($bytes:expr),+], [$($md5:literal),+]) => {
        idx_files!(@ [$($base),+] [
            "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
        ] [$($bytes),+] [$($md5),+])
    };
    (@ $bases:tt [$($name:literal),+] [$($bytes:expr),+] [$($md5:literal),+]) => {
        &[$(RemoteFile { name: $name, urls: idx_files!(urls $bases $name), bytes: $bytes, md5: $md5 }),+]
    };
    (urls [$($base:literal),+] $name:literal) => { &[$(concat!($base, $name)),+] };
}

const EMNIST_CITATION: &str = "G. Cohen, S. Afshar, J. Tapson, A. van Schaik: EMNIST: an extension of MNIST to \
                               handwritten letters, 2017, arXiv:1702.05373";

/// One part of EMNIST; all parts come in one archive.
const fn emnist(
    name: &'static str,
    title: &'static str,
    about: &'static str,
    classes: &'static [&'static str],
    [train, test]: [usize; 2],
    layout: super::idx::Layout,
) -> Entry {
    Entry {
        name,
        title,
        about,
        shape: [28, 28, 1],
        train,
        test,
        classes,
        mirrors: false,
        page: "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        licence: "not stated by the publisher (made from NIST Special Database 19)",
        citation: EMNIST_CITATION,
        files: &[RemoteFile {
            name: "gzip.zip",
            urls: &["https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"],
            bytes: Some(561_753_746),
            md5: "58c8d27c78d21e728a6bc7b3cc06412e",
        }],
        folders: &["emnist", "EMNIST", "EMNIST/raw"],
        layout: Layout::Idx(layout),
    }
}

const ENTRIES: [Entry; 12] = [
    Entry {
        name: "digits",
        title: "Optical Recognition of Handwritten Digits",
        about: "handwritten digits, tiny, inside the program",
        shape: [8, 8, 1],
        train: super::digits::COUNT,
        test: 0,
        classes: DIGITS,
        mirrors: false,
        page: "https://doi.org/10.24432/C50P49",
        licence: "CC BY 4.0",
        citation: "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning \
                   Repository, 1998",
        files: &[],
        folders: &[],
        layout: Layout::Embedded,
    },
    Entry {
        name: "cifar10",
        title: "CIFAR-10",
        about: "small colour photographs of animals and vehicles",
        shape: [32, 32, 3],
        train: 50_000,
        test: 10_000,
        classes: CIFAR10,
        mirrors: true,
        page: "https://www.cs.toronto.edu/~kriz/cifar.html",
        licence: "not stated by the publisher; a citation is asked for",
        citation: "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
        files: &[RemoteFile {
            name: "cifar-10-binary.tar.gz",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            bytes: Some(170_052_171),
            md5: "c32a1d4ab5d03f1284b67883e8d87530",
        }],
        folders: &["cifar10"],
        layout: Layout::Cifar(&super::cifar::CIFAR10),
    },
    Entry {
        name: "cifar100",
        title: "CIFAR-100",
        about: "small colour photographs of a hundred kinds of things",
        shape: [32, 32, 3],
        train: 50_000,
        test: 10_000,
        classes: CIFAR100,
        mirrors: true,
        page: "https://www.cs.toronto.edu/~kriz/cifar.html",
        licence: "not stated by the publisher; a citation is asked for",
        citation: "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
        files: &[RemoteFile {
            name: "cifar-100-binary.tar.gz",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
            bytes: Some(168_513_733),
            md5: "03b5dce01913d631647c71ecec9e9cb8",
        }],
        folders: &["cifar100"],
        layout: Layout::Cifar(&super::cifar::CIFAR100),
    },
    Entry {
        name: "mnist",
        title: "MNIST",
        about: "handwritten digits",
        shape: [28, 28, 1],
        train: 60_000,
        test: 10_000,
        classes: DIGITS,
        mirrors: false,
        page: "http://yann.lecun.com/exdb/mnist/",
        licence: "CC BY-SA 3.0",
        citation: "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, 1998",
        files: idx_files!(
            ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"],
            [Some(9_912_422), Some(28_881), Some(1_648_877), Some(4_542)],
            [
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c"
            ]
        ),
        folders: &["mnist", "MNIST", "MNIST/raw"],
        layout: Layout::Idx(super::idx::Layout::PLAIN),
    },
    Entry {
        name: "fashion-mnist",
        title: "Fashion-MNIST",
        about: "clothes, shoes and bags, grey",
        shape: [28, 28, 1],
        train: 60_000,
        test: 10_000,
        classes: &[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        // A mirrored shoe is a shoe, but here all of them point left: to learn the other side is wasted.
        mirrors: false,
        page: "https://github.com/zalandoresearch/fashion-mnist",
        licence: "MIT",
        citation: "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine \
                   Learning Algorithms, 2017, arXiv:1708.07747",
        files: idx_files!(
            ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
            [Some(26_421_880), Some(29_515), Some(4_422_102), Some(5_148)],
            [
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310"
            ]
        ),
        folders: &["fashion-mnist", "fashion", "FashionMNIST", "FashionMNIST/raw"],
        layout: Layout::Idx(super::idx::Layout::PLAIN),
    },
    Entry {
        name: "kmnist",
        title: "Kuzushiji-MNIST",
        about: "cursive Japanese characters",
        shape: [28, 28, 1],
        train: 60_000,
        test: 10_000,
        classes: &["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
        mirrors: false,
        page: "https://github.com/rois-codh/kmnist",
        licence: "CC BY-SA 4.0: \"KMNIST Dataset\" (created by CODH), adapted from \"Kuzushiji Dataset\" (created by \
                  NIJL and others), doi:10.20676/00000341",
        citation: "T. Clanuwat et al.: Deep Learning for Classical Japanese Literature, 2018, arXiv:1812.01718",
        files: idx_files!(
            ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
            [Some(18_165_135), None, None, None],
            [
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134"
            ]
        ),
        folders: &["kmnist", "KMNIST", "KMNIST/raw"],
        layout: Layout::Idx(super::idx::Layout::PLAIN),
    },
    emnist(
        "emnist",
        "EMNIST Balanced",
        "handwritten digits and letters, as many of each",
        MERGED,
        [112_800, 18_800],
        super::idx::Layout::emnist("emnist-balanced-train", "emnist-balanced-test"),
    ),
    emnist(
        "emnist-letters",
        "EMNIST Letters",
        "handwritten letters, capital and small together",
        LETTERS,
        [124_800, 20_800],
        // The labels of this part count from 1.
        super::idx::Layout {
            first_label: 1,
            ..super::idx::Layout::emnist("emnist-letters-train", "emnist-letters-test")
        },
    ),
    emnist(
        "emnist-digits",
        "EMNIST Digits",
        "handwritten digits, four times MNIST",
        DIGITS,
        [240_000, 40_000],
        super::idx::Layout::emnist("emnist-digits-train", "emnist-digits-test"),
    ),
    emnist(
        "emnist-mnist",
        "EMNIST MNIST",
        "handwritten digits, MNIST made anew",
        DIGITS,
        [60_000, 10_000],
        super::idx::Layout::emnist("emnist-mnist-train", "emnist-mnist-test"),
    ),
    emnist(
        "emnist-byclass",
        "EMNIST ByClass",
        "handwritten digits, capitals and small letters, all there are",
        CHARACTERS,
        [697_932, 116_323],
        super::idx::Layout::emnist("emnist-byclass-train", "emnist-byclass-test"),
    ),
    emnist(
        "emnist-bymerge",
        "EMNIST ByMerge",
        "as ByClass, letters of one form together",
        MERGED,
        [697_932, 116_323],
        super::idx::Layout::emnist("emnist-bymerge-train", "emnist-bymerge-test"),
    ),
];
