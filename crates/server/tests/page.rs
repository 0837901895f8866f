//! The page in a real browser: trains a model of digits and one of pictures in seconds, serves them, and lets
//! `page/page.mjs` use the page as readers do. Skipped, saying so, where there is no Chromium, Node or playwright-core.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{atomic::AtomicBool, mpsc},
    thread,
    time::{Duration, Instant},
};

use percept::{
    image::{Image, ImageShape, encode_png},
    train::{Place, TrainOptions, train},
    weights::MODEL_FILE,
};
use percept_server::{Access, ModelSource, Origin, ServerConfig, serve};

const SIDE: usize = 96;
const TOKEN: &str = "open-sesame";

#[test]
fn readers_get_answers_from_the_page() {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(Path::new);
    let Some(browser) = browser.into_iter().find(|path| path.exists()) else {
        return eprintln!("page: skipped, there is no Chromium in /usr/bin");
    };
    if Command::new("node").arg("--version").output().is_err() {
        return eprintln!("page: skipped, there is no Node");
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = std::env::var_os("PERCEPT_PAGE_MODULES").map(PathBuf::from);
    let modules = modules.unwrap_or_else(|| package.join("../../target/page-test/node_modules"));
    if !modules.join("playwright-core").exists() || !modules.join("axe-core").exists() {
        let here = modules.display();
        return eprintln!("page: skipped, {here} lacks playwright-core and axe-core: ./test installs them");
    }

    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    pictures(&place("pictures"));
    for class in ["first", "second"] {
        let images = place("data").join(class);
        fs::create_dir_all(&images).unwrap();
        (0..30).for_each(|seed| fs::write(images.join(format!("{seed}.png")), photo(class == "first", seed)).unwrap());
    }
    run("digits", "cnn-small", 300, &place("digits"), folder.path());
    run(place("data").to_str().unwrap(), "cnn-small", 40, &place("pets"), folder.path());
    // A model file alone, without what its run left.
    fs::copy(place("pets").join(MODEL_FILE), place("photos.safetensors")).unwrap();

    scenes(&place("scenes"));
    run(place("scenes/labels.csv").to_str().unwrap(), "cnn-small", 150, &place("several"), folder.path());

    let both = [("digits", place("digits")), ("pets", place("pets"))];
    let alone = [("photos", place("photos.safetensors"))];
    let digits = start(&both, |config| config.collect = Some(place("kept")));
    let photos = start(&alone, |_| ());
    let several = start(&[("several", place("several"))], |_| ());
    let locked = start(&alone, |config| config.access = Access::Token(TOKEN.into()));
    let address = |address: SocketAddr| format!("http://localhost:{}/", address.port());
    let outcome = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .arg(package.join("tests/page/page.mjs"))
        .env("PAGE_DIGITS", address(digits))
        .env("PAGE_PHOTOS", address(photos))
        .env("PAGE_LOCKED", address(locked))
        .env("PAGE_SEVERAL", address(several))
        .env("PAGE_PICTURES", place("pictures"))
        .env("PAGE_KEPT", place("kept"))
        .env("PAGE_MODULES", fs::canonicalize(&modules).unwrap())
        .env("PAGE_BROWSER", browser)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success(), "{said}\n{}", String::from_utf8_lossy(&outcome.stderr));
}

fn run(data: &str, model: &str, steps: u64, out: &Path, cache: &Path) {
    let mut options = TrainOptions { data: data.into(), steps: Some(steps), ..TrainOptions::default() };
    options.model = Some(model.into());
    options.from_scratch = true;
    options.cache_dir = Some(cache.join("cache"));
    let stop = AtomicBool::new(false);
    train(&options, &Place::New(Some(out.into())), Instant::now(), &stop, &|_| ()).expect("trains");
}

/// A server on a free port, until the test ends.
fn start(models: &[(&str, PathBuf)], change: impl FnOnce(&mut ServerConfig)) -> SocketAddr {
    let source =
        |(name, path): &(&str, PathBuf)| ModelSource { name: (*name).into(), origin: Origin::Path(path.clone()) };
    let mut config = ServerConfig::new(models.iter().map(source).collect());
    config.address = SocketAddr::from(([127, 0, 0, 1], 0));
    change(&mut config);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || serve(config, |address| tell.send(address).expect("somebody listens")).expect("serves"));
    told.recv_timeout(Duration::from_secs(60)).expect("a server")
}

/// Pictures for the page's tests.
fn pictures(folder: &Path) {
    fs::create_dir_all(folder).expect("a file");
    for (name, warm) in [("first.png", true), ("second.png", false)] {
        fs::write(folder.join(name), photo(warm, 1_000)).expect("a file");
    }
    fs::write(folder.join("both.png"), scene(true, true, 1_000)).expect("a file");
    fs::write(folder.join("neither.png"), scene(false, false, 1_000)).expect("a file");
    let mut broken = photo(true, 7);
    broken.truncate(broken.len() / 2);
    fs::write(folder.join("broken.png"), broken).expect("a file");
    fs::write(folder.join("notes.txt"), "no picture").expect("a file");
    let shape = ImageShape { height: 8, width: 8, channels: 1 };
    let chequers = (0..64).map(|place| if (place / 8 + place % 8) % 2 == 0 { 255 } else { 0 }).collect();
    fs::write(folder.join("odd.png"), encode_png(&Image { shape, pixels: chequers })).expect("a file");
}

/// Pictures that show a disc, stripes, both or neither, and the table that says which.
fn scenes(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let mut table = String::from("file_name,labels\n");
    for seed in 0..80 {
        let (disc, stripes) = (seed % 2 == 0, seed % 4 < 2);
        let names: Vec<&str> =
            [("disc", disc), ("stripes", stripes)].iter().filter(|pair| pair.1).map(|pair| pair.0).collect();
        table += &format!("{seed}.png,{}\n", names.join("|"));
        fs::write(folder.join(format!("{seed}.png")), scene(disc, stripes, seed)).expect("a file");
    }
    fs::write(folder.join("labels.csv"), table).expect("a table");
}

/// The middle of a disc's picture above, and of stripes below; grey in place of what it does not show.
fn scene(disc: bool, stripes: bool, seed: u64) -> Vec<u8> {
    let rows = |warm: bool, is_shown: bool| {
        let pixels = pixels(warm, seed);
        let middle = pixels[3 * SIDE * SIDE / 4..][..3 * SIDE * SIDE / 2].to_vec();
        if is_shown { middle } else { middle.into_iter().map(|level| 100 + level % 32).collect() }
    };
    let pixels = [rows(true, disc), rows(false, stripes)].concat();
    encode_png(&Image { shape: ImageShape { height: SIDE, width: SIDE, channels: 3 }, pixels })
}

/// A picture of one of two kinds: a warm disc on green, or blue stripes on grey, each with noise of its own.
fn photo(warm: bool, seed: u64) -> Vec<u8> {
    encode_png(&Image { shape: ImageShape { height: SIDE, width: SIDE, channels: 3 }, pixels: pixels(warm, seed) })
}

fn pixels(warm: bool, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let (x, y, radius) = (30 + random(36) as i64, 30 + random(36) as i64, 16 + random(10) as i64);
    let (period, phase) = (10 + random(8) as i64, random(10) as i64);
    let mut pixels = Vec::with_capacity(3 * SIDE * SIDE);
    for place in 0..(SIDE * SIDE) as i64 {
        let (row, column) = (place / SIDE as i64, place % SIDE as i64);
        let inside = (row - y).pow(2) + (column - x).pow(2) < radius * radius;
        let colour = match (warm, inside, (row + column + phase) % period < period / 2) {
            (true, true, _) => [214, 120, 40],
            (true, false, _) => [70, 120, 60],
            (false, _, true) => [50, 90, 190],
            (false, _, false) => [150, 150, 155],
        };
        pixels.extend(colour.map(|level: u64| (level + random(40)) as u8));
    }
    pixels
}
