//! Stand-in: no named datasets but an empty hook for tests.

use std::path::Path;

use super::{DatasetConfig, Listener, Source};
use crate::{Error, Result};

/// Whether a word is the name of a dataset.
pub fn is_name(name: &str) -> bool {
    name == "digits"
}

/// Opens a named dataset.
pub fn open(name: &str, _config: &DatasetConfig, _listener: Listener) -> Result<Source> {
    Err(Error::missing(format!("no dataset is called \"{name}\""), ""))
}

/// Opens an official layout at a path, where it is one.
pub fn open_path(_path: &Path) -> Result<Option<Source>> {
    Ok(None)
}
