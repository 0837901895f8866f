//! The page that tells of a model: that its figures are those of the model that is served.

mod common;

use std::{fs, path::Path};

use axum::Router;
use common::{get, source, train_digits, train_on, with};
use percept::weights::MODEL_FILE;

fn serve(name: &str, path: &Path) -> Router {
    with(|config| config.models = vec![source(name, path)])
}

#[tokio::test]
async fn figures_of_a_model_that_was_replaced_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [run, other] = ["run", "other"].map(|name| folder.path().join(name));
    train_digits(&run, 20);
    train_digits(&other, 40);
    let own = get(&serve("run", &run), "/models/run/page").await.text();
    assert!(own.contains("id=\"confusion\"") && own.contains("data:image/png") && own.contains("<dt>Trained</dt>"));
    fs::copy(other.join(MODEL_FILE), run.join(MODEL_FILE)).unwrap();
    let server = serve("run", &run);
    let replaced = get(&server, "/models/run/page").await.text();
    assert!(!replaced.contains("id=\"confusion\"") && !replaced.contains("data:image/png"), "{replaced}");
    assert!(!replaced.contains("<dt>Trained</dt>") && replaced.contains("cannot be shown"), "{replaced}");
    assert!(!get(&server, "/").await.text().contains("width=\"96\""));
    // With the files of its own run they are there again.
    for file in ["metrics.json", "batch.svg"] {
        fs::copy(other.join(file), run.join(file)).unwrap();
    }
    assert!(get(&server, "/models/run/page").await.text().contains("id=\"confusion\""));
}

#[tokio::test]
async fn a_model_of_several_labels_has_figures_by_class_and_an_interval() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from("file_name,labels\n");
    for seed in 0..60_u64 {
        let names = ["", "warm", "odd", "warm|odd"][seed as usize % 4];
        table += &format!("{seed}.png,{names}\n");
        fs::write(folder.path().join(format!("{seed}.png")), common::colour(seed % 2 == 1, seed)).unwrap();
    }
    fs::write(folder.path().join("labels.csv"), table).unwrap();
    let run = train_on(&folder.path().join("labels.csv"), folder.path(), &[]);
    let page = get(&serve("several", &run), "/models/several/page").await.text();
    assert!(page.contains("95 % interval is") && page.contains("may show several classes"), "{page}");
    assert!(page.contains(">Mean average precision</h2>"), "{page}");
    assert!(page.contains("<th scope=\"row\">warm</th>") && page.contains("Found: of the pictures"), "{page}");
    assert!(!page.contains("id=\"confusion\"") && !page.contains("cannot be shown"), "{page}");
}
