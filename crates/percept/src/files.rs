//! Files that appear whole or not at all, and bytes as text.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use crate::{Error, Result};

/// Writes a file so that no crash leaves half of it: a temporary file beside it, fsync, rename, fsync of the folder.
///
/// # Errors
/// A folder that cannot be written, or a full disk.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("write", path))?;
    file.write_all(contents).map_err(Error::io("write", path))?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    let file = file.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    open_to_all_readers(&file);
    sync_folder(folder);
    Ok(())
}

/// Temporary files are private; what a run leaves has the permissions of any new file.
#[cfg(unix)]
fn open_to_all_readers(file: &File) {
    use std::os::unix::fs::PermissionsExt;
    // A file system without permissions is no reason to fail.
    let _ = file.set_permissions(fs::Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn open_to_all_readers(_: &File) {}

/// Makes a rename durable. Some systems cannot open a folder; the rename stands all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// A place that cannot be written.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// Two digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
