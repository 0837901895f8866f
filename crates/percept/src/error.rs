//! What can go wrong, said so that a user knows what was wrong, where, and what to do next.

use std::{io, path::PathBuf};

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that this library refuses or fails at. The message names the value or the path;
/// [`Error::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: a missing path, a folder without write permission, a full disk.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", "create".
        action: &'static str,
        /// The path that it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not what its format promises: truncated, corrupt, of a wrong checksum, hostile.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file, or the archive and the entry in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// Something that was asked for is nowhere to be found: a dataset, a model, a class.
    #[error("{what}")]
    Missing {
        /// What is missing and where it was looked for.
        what: String,
        /// What to do next.
        hint: String,
    },
    /// A value, a setting or a set of images that cannot be used as it is.
    #[error("{what}")]
    Invalid {
        /// What was wrong, with the value received.
        what: String,
        /// What to do next.
        hint: String,
    },
    /// A download failed or was cut off.
    #[error("cannot download {url}: {reason}")]
    Download {
        /// The address.
        url: String,
        /// Why it failed.
        reason: String,
        /// The file to fetch by hand, and the folder to put it in.
        hint: String,
    },
    /// The loss became NaN, infinite, or grew without bound.
    #[error("training diverged at step {step}: {cause}")]
    Diverged {
        /// The step, counted from 0.
        step: u64,
        /// What was seen.
        cause: String,
        /// What to change.
        hint: String,
    },
}

impl Error {
    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path for a typing mistake"),
                io::ErrorKind::PermissionDenied => {
                    Some("choose a folder that you may write to, or change its permissions")
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    Some("a file is in the way of a folder: choose another path, or move the file")
                }
                io::ErrorKind::ReadOnlyFilesystem => Some("choose a folder that you may write to"),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space, or choose another folder with --out or PERCEPT_CACHE")
                }
                _ => None,
            },
            Self::Damaged { hint, .. }
            | Self::Missing { hint, .. }
            | Self::Invalid { hint, .. }
            | Self::Download { hint, .. }
            | Self::Diverged { hint, .. } => (!hint.is_empty()).then_some(hint.as_str()),
        }
    }

    /// Pairs an operating-system error with what was tried on which path; for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A file that is not what its format promises.
    pub fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into(), hint: hint.into() }
    }

    /// Something that was asked for and is nowhere to be found.
    pub fn missing(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), hint: hint.into() }
    }

    /// A value that cannot be used.
    pub fn invalid(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), hint: hint.into() }
    }
}
