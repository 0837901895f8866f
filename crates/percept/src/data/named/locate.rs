//! Where named datasets are looked for on this machine.

use std::path::PathBuf;

use super::{Entry, Format};
use crate::{Error, data::DatasetConfig};

/// The folders to look into, in order.
pub(super) fn folders(name: &str, config: &DatasetConfig) -> Vec<PathBuf> {
    let own = std::env::var_os("PERCEPT_DATA").map(PathBuf::from);
    let roots = config.data_dir.iter().cloned().chain(own).flat_map(|root| [root.join(name), root]);
    let system = PathBuf::from("/usr/share/datasets").join(name);
    roots.chain([cached(name, config), system]).filter(|folder| folder.is_dir()).collect()
}

/// The folder that a dataset's files belong into.
fn cached(name: &str, config: &DatasetConfig) -> PathBuf {
    config.cache_dir.join("data").join(name)
}

/// Says which file to fetch from where, and where to put it.
pub(super) fn not_found(entry: &Entry, config: &DatasetConfig) -> Error {
    let folder = cached(entry.name, config);
    let files = match entry.format {
        Format::Cifar(10) => "cifar-10-binary.tar.gz or cifar-10-python.tar.gz",
        Format::Cifar(_) => "cifar-100-binary.tar.gz or cifar-100-python.tar.gz",
        _ => {
            "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz"
        }
    };
    Error::missing(
        format!("the dataset {} is not on this machine", entry.name),
        format!(
            "fetch {files} from {} and put it into {}, or name the folder that holds it with --data-dir",
            entry.address,
            folder.display()
        ),
    )
}
