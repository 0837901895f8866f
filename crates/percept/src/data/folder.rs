//! A folder of pictures: `root/<class>/*` or `root/{train,val,test}/<class>/*`. Lists names and sizes, reads no
//! picture, and sorts by bytes, so that the order is the same on every system.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::{
    DatasetConfig, Event, Listener, Picture, Sample, Source, Split,
    source::{and_more, check_classes, count, is_or_are, name_of, number_classes},
};
use crate::{Error, Result};

const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether a file's extension is a picture's, in any capitalisation.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Opens a folder of class folders.
pub(super) fn open(root: &Path, config: &DatasetConfig, listener: Listener) -> Result<Source> {
    let mut listing = Listing::read(root)?;
    if listing.is_split() {
        listing.move_splits_up()?;
    }
    listing.check(root)?;
    for note in listing.notes() {
        listener(Event::Note(note));
    }
    let folders = listing.folders.iter().filter(|folder| !folder.images.is_empty());
    let (classes, labels) = number_classes(folders.map(|folder| folder.class.clone()));
    let files = listing.into_files(&labels);
    check_classes(root, &classes, files.iter().map(|file| (file.label, file.split)), config, listener)?;
    Ok(Source {
        name: name_of(root),
        location: root.display().to_string(),
        classes,
        channels: 3,
        identity: identify(root, &files),
        mirrors: true,
        samples: serve(files),
    })
}

/// One picture of a listing, shared with CSV tables.
#[derive(Clone)]
pub(super) struct ListedFile {
    pub name: String,
    pub path: PathBuf,
    pub label: u32,
    pub split: Option<Split>,
    /// Length and time of the last change.
    pub stamp: (u64, u128),
}

/// Length and time of the last change, in nanoseconds.
pub(super) fn stamp(metadata: &Metadata) -> (u64, u128) {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (metadata.len(), changed.map_or(0, |time| time.as_nanos()))
}

/// A text that changes when a name, a label, a size or a time does.
pub(super) fn identify(root: &Path, files: &[ListedFile]) -> String {
    let mut digest = Sha256::new();
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    digest.update(root.as_os_str().as_encoded_bytes());
    for file in files {
        digest.update(file.name.as_bytes());
        digest.update([0, file.split.map_or(3, |split| split as u8)]);
        digest.update(file.label.to_le_bytes());
        digest.update(file.stamp.0.to_le_bytes());
        digest.update(file.stamp.1.to_le_bytes());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A reader that hands out the files in their order.
pub(super) fn serve(files: Vec<ListedFile>) -> super::SampleReader {
    let files = Arc::new(files);
    Box::new(move || {
        let files = Arc::clone(&files);
        let samples = (0..files.len()).map(move |i| {
            let ListedFile { name, path, label, split, .. } = files[i].clone();
            Ok(Sample { name, label, split, picture: Picture::File(path) })
        });
        Ok(Box::new(samples))
    })
}

/// A folder that may be a class, with every picture in it, however deep.
#[derive(Default)]
struct ClassFolder {
    /// Path relative to the root.
    relative: PathBuf,
    class: String,
    split: Option<Split>,
    images: Vec<Found>,
    strays: Vec<Stray>,
}

struct Found {
    relative: PathBuf,
    stamp: (u64, u128),
}

/// A file that is no picture, or is not where a class would be.
struct Stray {
    relative: PathBuf,
    is_image: bool,
}

/// What stands in the root, and how it was understood.
#[derive(Default)]
struct Listing {
    root: PathBuf,
    folders: Vec<ClassFolder>,
    strays: Vec<Stray>,
    /// Folders beside train and test that are no split.
    ignored_folders: Vec<PathBuf>,
}

impl Listing {
    fn read(root: &Path) -> Result<Self> {
        let (directories, files) = list(root)?;
        let directories = directories.into_par_iter().map(|path| ClassFolder::read(root, path));
        Ok(Self {
            root: root.to_owned(),
            folders: directories.collect::<Result<_>>()?,
            strays: files.into_iter().map(|path| Stray::new(root, &path)).collect(),
            ignored_folders: Vec::new(),
        })
    }

    /// Whether the folders are splits rather than classes. "train" can be a class as well, beside "bus" and "car":
    /// it is a split where nothing but splits stand beside it, or where two splits hold folders.
    fn is_split(&self) -> bool {
        let filled = || self.folders.iter().filter(|folder| !folder.images.is_empty());
        let named = |folder: &&ClassFolder| Split::from_word(&folder.class).is_some();
        let has_folders = |folder: &&ClassFolder| folder.images.iter().any(|i| i.relative.components().count() > 2);
        filled().any(|folder| named(&folder))
            && (filled().all(|folder| named(&folder)) || filled().filter(named).filter(has_folders).count() > 1)
    }

    /// Turns `train/cat/1.jpg` of the folder "train" into `train/cat` of the class "cat".
    fn move_splits_up(&mut self) -> Result<()> {
        let mut folders: BTreeMap<PathBuf, ClassFolder> = BTreeMap::new();
        for folder in std::mem::take(&mut self.folders) {
            let Some(split) = Split::from_word(&folder.class) else {
                self.ignored_folders.push(folder.relative);
                continue;
            };
            let (directories, _) = list(&self.root.join(&folder.relative))?;
            for directory in directories {
                let relative = folder.relative.join(directory.file_name().unwrap_or_default());
                let class = class_name(&relative);
                folders.insert(
                    relative.clone(),
                    ClassFolder { relative, class, split: Some(split), ..Default::default() },
                );
            }
            for image in folder.images {
                match folders.get_mut(&first_two(&image.relative)) {
                    Some(class) => class.images.push(image),
                    None => self.strays.push(Stray { relative: image.relative, is_image: true }),
                }
            }
            for stray in folder.strays {
                match folders.get_mut(&first_two(&stray.relative)) {
                    Some(class) => class.strays.push(stray),
                    None => self.strays.push(stray),
                }
            }
        }
        self.folders = folders.into_values().collect();
        Ok(())
    }

    /// Refuses what cannot be understood as classes.
    fn check(&self, root: &Path) -> Result<()> {
        let place = root.display();
        let has_images = self.folders.iter().any(|folder| !folder.images.is_empty());
        let loose = self.strays.iter().filter(|stray| stray.is_image).count();
        if !has_images && loose > 0 {
            let tables = self.strays.iter().map(|stray| &stray.relative);
            let table = tables.into_iter().find(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")));
            return Err(Error::invalid(
                format!("{place} holds {loose} images but no class folders"),
                match table {
                    Some(table) => format!(
                        "put each class's images in a folder of its own, or give {} if it names each image's class",
                        root.join(table).display()
                    ),
                    None => "put each class's images in a folder of its own".to_owned(),
                },
            ));
        }
        if !has_images {
            return Err(Error::invalid(
                format!("{place} holds no image"),
                format!(
                    "give a folder with one folder of images per class; images end in {}",
                    EXTENSIONS.map(|e| format!(".{e}")).join(" ")
                ),
            ));
        }
        self.check_class_folders()
    }

    /// A class folder full of files that are no images is a mistake to name, not to pass over.
    fn check_class_folders(&self) -> Result<()> {
        let known = |class: &str| self.folders.iter().any(|folder| folder.class == class && !folder.images.is_empty());
        for folder in self.folders.iter().filter(|folder| folder.images.is_empty()) {
            let visible = folder.strays.iter().find(|stray| !stray.is_system_file());
            if let (Some(stray), false) = (visible, known(&folder.class)) {
                return Err(Error::invalid(
                    format!(
                        "class \"{}\" has no image: {} holds {}, which is of no image format that Percept reads",
                        folder.class,
                        self.root.join(&folder.relative).display(),
                        stray.file_name()
                    ),
                    "convert its files to JPEG or PNG, or take the folder out",
                ));
            }
        }
        Ok(())
    }

    /// What was left out, a sentence each.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let strays = || self.strays.iter().chain(self.folders.iter().flat_map(|folder| &folder.strays));
        let files: Vec<_> = strays().filter(|stray| !stray.is_image).map(|stray| slashed(&stray.relative)).collect();
        if !files.is_empty() {
            notes.push(format!(
                "ignored {} that {} no image: {}",
                count(files.len(), "file"),
                is_or_are(files.len()),
                some(&files)
            ));
        }
        let loose: Vec<_> = strays().filter(|stray| stray.is_image).map(|stray| slashed(&stray.relative)).collect();
        if !loose.is_empty() {
            notes.push(format!("left out {} outside the class folders: {}", count(loose.len(), "image"), some(&loose)));
        }
        let others: Vec<_> = self.ignored_folders.iter().map(|folder| slashed(folder)).collect();
        if !others.is_empty() {
            notes.push(format!("left out {} beside the splits: {}", count(others.len(), "folder"), some(&others)));
        }
        let empty: Vec<_> = self.folders.iter().filter(|f| f.images.is_empty()).map(|f| slashed(&f.relative)).collect();
        if !empty.is_empty() {
            notes.push(format!("left out {} without images: {}", count(empty.len(), "class folder"), some(&empty)));
        }
        notes
    }

    fn into_files(self, labels: &HashMap<String, u32>) -> Vec<ListedFile> {
        let root = self.root;
        let mut files = Vec::new();
        for folder in self.folders {
            for image in folder.images {
                files.push(ListedFile {
                    name: slashed(&image.relative),
                    path: root.join(&image.relative),
                    label: labels[&folder.class],
                    split: folder.split,
                    stamp: image.stamp,
                });
            }
        }
        files.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()).then_with(|| a.path.cmp(&b.path)));
        files
    }
}

impl ClassFolder {
    fn read(root: &Path, path: PathBuf) -> Result<Self> {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let mut folder = Self { class: class_name(&relative), relative, ..Self::default() };
        let walk = WalkDir::new(&path).min_depth(1).follow_links(true);
        let enters = |entry: &DirEntry| {
            let skips = || is_hidden_folder(entry.file_name()) || leads_back(entry.path(), root);
            !(entry.file_type().is_dir() && skips())
        };
        for entry in walk.into_iter().filter_entry(enters) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => folder.add(root, entry.path(), entry.metadata().ok().as_ref()),
                Err(error) if error.loop_ancestor().is_some() => {}
                Err(error) => folder.add_unreachable(root, error)?,
            }
        }
        Ok(folder)
    }

    fn add(&mut self, root: &Path, path: &Path, metadata: Option<&Metadata>) {
        let is_file = metadata.is_none_or(Metadata::is_file); // pipes and sockets are never opened
        let stray = Stray::new(root, path);
        if stray.is_image && is_file {
            self.images.push(Found { relative: stray.relative, stamp: metadata.map_or((0, 0), stamp) });
        } else {
            self.strays.push(Stray { is_image: false, ..stray });
        }
    }

    /// A link that leads nowhere is listed, so that reading it names it; a folder that is closed is an error.
    fn add_unreachable(&mut self, root: &Path, error: walkdir::Error) -> Result<()> {
        let path = error.path().unwrap_or(root).to_owned();
        if path.is_symlink() {
            self.add(root, &path, None);
            return Ok(());
        }
        Err(Error::io("read", path)(error.into()))
    }
}

impl Stray {
    fn new(root: &Path, path: &Path) -> Self {
        let relative = path.strip_prefix(root).unwrap_or(path).to_owned();
        let hidden = relative.file_name().is_some_and(is_hidden);
        Self { is_image: !hidden && is_image(&relative), relative }
    }

    fn file_name(&self) -> String {
        self.relative.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether the system or a file manager put it there, rather than a person.
    fn is_system_file(&self) -> bool {
        let name = self.file_name();
        name.starts_with('.') || ["thumbs.db", "desktop.ini"].contains(&name.to_ascii_lowercase().as_str())
    }
}

/// The folders and the files of a folder, hidden folders left out, links followed.
fn list(root: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root).map_err(Error::io("read", root))? {
        let entry = entry.map_err(Error::io("read", root))?;
        let path = entry.path();
        match path.is_dir() {
            true if is_hidden_folder(&entry.file_name()) || leads_back(&path, root) => {}
            true => directories.push(path),
            false => files.push(path),
        }
    }
    directories.sort();
    files.sort();
    Ok((directories, files))
}

/// Whether a link leads to the folder that it stands in, or to one above.
fn leads_back(path: &Path, root: &Path) -> bool {
    let above = || Some(fs::canonicalize(root).ok()?.starts_with(fs::canonicalize(path).ok()?));
    path.is_symlink() && above().unwrap_or(false)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Folders that tools leave behind: `.git`, `.ipynb_checkpoints`, what macOS adds to archives.
fn is_hidden_folder(name: &OsStr) -> bool {
    is_hidden(name) || name == "__MACOSX"
}

fn class_name(relative: &Path) -> String {
    relative.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn first_two(relative: &Path) -> PathBuf {
    relative.components().take(2).collect()
}

/// A relative path with `/` on every system.
fn slashed(relative: &Path) -> String {
    let parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// The first three of a list.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    format!("{shown}{}", and_more((names.len() + 1).saturating_sub(3)))
}
