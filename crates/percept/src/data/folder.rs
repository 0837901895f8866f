//! A folder of pictures: `root/<class>/*` or `root/{train,val,test}/<class>/*`. Lists names and sizes, reads no
//! picture, and sorts by bytes, so that the order is the same on every system.

mod walk;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

pub(super) use self::walk::{Stamp, stamp};
use self::walk::{Tree, is_hidden, walk};
use super::{
    DatasetConfig, Event, Listener, Picture, Sample, Source, Split,
    source::{and_more, check_classes, count, is_or_are, name_of, number_classes},
};
use crate::{
    Error, Result,
    files::hexadecimal,
    image::{IMAGE_EXTENSIONS, has_image_extension},
};

/// Opens a folder of class folders.
pub(super) fn open(root: &Path, config: &DatasetConfig, listener: Listener) -> Result<Source> {
    let listing = Listing::read(root, config.adds)?;
    listing.check(root)?;
    for note in listing.notes() {
        listener(Event::Note(note));
    }
    if let Some(folder) = listing.folders.iter().find(|folder| folder.relative.as_os_str().is_empty()) {
        let pictures = count(folder.images.len(), "image");
        listener(Event::Note(format!(
            "{} has no class folders: its {pictures} {} class \"{}\"",
            root.display(),
            is_or_are(folder.images.len()),
            folder.class
        )));
    }
    let folders = listing.folders.iter().filter(|folder| !folder.images.is_empty());
    let (classes, labels) = number_classes(folders.map(|folder| folder.class.clone()));
    let files = listing.into_files(&labels);
    check_classes(root, &classes, None, files.iter().map(|file| (file.label, file.split)), config, listener)?;
    Ok(Source {
        name: name_of(root),
        location: root.display().to_string(),
        classes,
        sets: None,
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
    pub stamp: Stamp,
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
    hexadecimal(&digest.finalize())
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
struct ClassFolder {
    /// Path relative to the root.
    relative: PathBuf,
    class: String,
    split: Option<Split>,
    images: Vec<walk::File>,
    strays: Vec<Stray>,
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
    /// Pictures without class folders are a class of the root's name if `one_class` is enough.
    fn read(root: &Path, one_class: bool) -> Result<Self> {
        let mut tree = walk(root)?;
        tree.folders.sort_unstable();
        let is_split = has_splits(&tree);
        let mut listing = Self { root: root.to_owned(), ..Self::default() };
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        let mut pictures = tree.files.iter().filter(|file| is_picture(file)).peekable();
        let is_class = one_class && pictures.peek().is_some() && pictures.all(|file| depth_of(file) == 1);
        if is_class {
            let (relative, class) = (PathBuf::new(), name_of(root));
            places.insert(relative.clone(), 0);
            listing.folders.push(ClassFolder { relative, class, split: None, images: Vec::new(), strays: Vec::new() });
        }
        for relative in tree.folders {
            let depth = relative.components().count();
            let split = if is_split { Split::from_word(&first_name(&relative)) } else { None };
            if is_split && split.is_none() {
                listing.ignored_folders.extend((depth == 1).then_some(relative));
            } else if depth == 1 + usize::from(is_split) {
                let class = relative.file_name().unwrap_or_default().to_string_lossy().into_owned();
                places.insert(relative.clone(), listing.folders.len());
                listing.folders.push(ClassFolder { relative, class, split, images: Vec::new(), strays: Vec::new() });
            }
        }
        for file in tree.files {
            let depth = if is_class { 0 } else { 1 + usize::from(is_split) };
            let class: PathBuf = file.relative.components().take(depth).collect();
            let is_image = is_picture(&file);
            match places.get(&class) {
                Some(&folder) if is_image => listing.folders[folder].images.push(file),
                Some(&folder) => listing.folders[folder].strays.push(Stray { relative: file.relative, is_image }),
                None if listing.is_ignored(&file.relative) => {}
                None => listing.strays.push(Stray { relative: file.relative, is_image }),
            }
        }
        listing.strays.sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
        Ok(listing)
    }

    fn is_ignored(&self, relative: &Path) -> bool {
        self.ignored_folders.iter().any(|folder| relative.starts_with(folder))
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
                    IMAGE_EXTENSIONS.map(|e| format!(".{e}")).join(" ")
                ),
            ));
        }
        self.check_class_folders()
    }

    /// A class folder full of files that are no images is a mistake to name, not to pass over.
    fn check_class_folders(&self) -> Result<()> {
        let known = |class: &str| self.folders.iter().any(|folder| folder.class == class && !folder.images.is_empty());
        for folder in self.folders.iter().filter(|folder| folder.images.is_empty()) {
            let visible =
                folder.strays.iter().filter(|stray| !stray.is_system_file()).min_by_key(|stray| &stray.relative);
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
        let mut files: Vec<_> =
            strays().filter(|stray| !stray.is_image).map(|stray| slashed(&stray.relative)).collect();
        files.sort_unstable();
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

/// Whether the folders are splits rather than classes. "train" can be a class as well, beside "bus" and "car": it is
/// a split where nothing but splits stand beside it, or where two splits hold folders.
fn has_splits(tree: &Tree) -> bool {
    let mut filled: HashMap<String, bool> = HashMap::new(); // whether a folder of images holds them in folders
    for file in tree.files.iter().filter(|file| is_picture(file)) {
        let depth = depth_of(file);
        if depth > 1 {
            *filled.entry(first_name(&file.relative)).or_default() |= depth > 2;
        }
    }
    let splits = || filled.iter().filter(|(name, _)| Split::from_word(name).is_some());
    splits().count() > 0
        && (splits().count() == filled.len() || splits().filter(|(_, in_folders)| **in_folders).count() > 1)
}

fn depth_of(file: &walk::File) -> usize {
    file.relative.components().count()
}

fn is_picture(file: &walk::File) -> bool {
    let hidden = file.relative.file_name().is_some_and(is_hidden);
    file.is_regular && !hidden && has_image_extension(&file.relative)
}

impl Stray {
    fn file_name(&self) -> String {
        self.relative.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether the system or a file manager put it there, rather than a person.
    fn is_system_file(&self) -> bool {
        let name = self.file_name();
        name.starts_with('.') || ["thumbs.db", "desktop.ini"].contains(&name.to_ascii_lowercase().as_str())
    }
}

fn first_name(relative: &Path) -> String {
    relative.components().next().map_or_else(String::new, |part| part.as_os_str().to_string_lossy().into_owned())
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
