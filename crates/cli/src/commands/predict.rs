//! `percept predict`: names what pictures show.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use percept::{Classifier, Likelihood, Prediction};
use serde::Serialize;

use super::Cache;
use crate::printer::{self, Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder, a model file, or the name of a pretrained model, such as efficientnet_lite0
    model: PathBuf,
    /// Pictures, folders of pictures, or - for a picture on standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A file of the pretrained model's weights, instead of those that are found on this machine or downloaded
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    cache: Cache,
    /// Likeliest classes to name: 3, or all of a model of several labels an image
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// table to read, json or csv for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
    /// Name classes even for pictures that are unlike all that the model has seen
    #[arg(long)]
    no_unknown: bool,
    /// How many threads compute
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// What became of one picture.
#[derive(Serialize)]
struct Answer {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<Vec<Row>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Row {
    class: String,
    probability: f32,
    /// Whether the picture is said to show it, where it may show several.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<bool>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(false);
    let model = super::open_model(&arguments.model, arguments.weights, &arguments.cache, &progress)?;
    let mut classifier = Classifier::from_saved(model);
    if arguments.no_unknown {
        classifier = classifier.without_unknown();
    }
    let files = list(&arguments.files)?;
    let exclusive = classifier.card().is_exclusive();
    let top = arguments.top.unwrap_or(if exclusive { 3 } else { usize::MAX }).max(1);
    let answers: Vec<Answer> = files.iter().map(|file| answer(&mut classifier, file, top)).collect();
    match arguments.format {
        Format::Table => print_table(&answers, &progress)?,
        Format::Json => printer::json(&answers)?,
        Format::Csv => print_csv(&answers, exclusive)?,
    }
    let failed = answers.iter().filter(|answer| answer.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", answers.len());
    }
    Ok(())
}

/// Folders become the pictures in them, at any depth, in order.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let pictures = percept::image::files_in(path)?;
            if pictures.is_empty() {
                bail!("{} holds no pictures", path.display());
            }
            files.extend(pictures);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn answer(classifier: &mut Classifier, file: &Path, top: usize) -> Answer {
    let result = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input");
        read.map_err(|error| format!("{error:#}")).and_then(|_| classifier.classify_bytes(&bytes))
    } else {
        classifier.classify_file(file).map_err(|error| describe(&error))
    };
    let file = file.display().to_string();
    match result {
        Ok(Prediction { likelihoods, exclusive, unknown }) => {
            let rows = likelihoods.into_iter().take(top);
            let rows = rows.map(|Likelihood { class, probability, chosen }| {
                let chosen = (!exclusive).then_some(chosen);
                Row { class, probability, chosen }
            });
            Answer { file, predictions: Some(rows.collect()), unknown: Some(unknown), error: None }
        }
        Err(error) => Answer { file, predictions: None, unknown: None, error: Some(error) },
    }
}

fn describe(error: &percept::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

fn print_table(answers: &[Answer], progress: &Progress) -> Result<()> {
    let width = answers.iter().map(|a| a.file.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for Answer { file, predictions, unknown, error } in answers {
        let rows = predictions.iter().flatten().map(|row| {
            let mark = if row.chosen == Some(true) { "*" } else { "" };
            format!("{mark}{} {:.1} %", row.class, 100.0 * row.probability)
        });
        let rows = rows.collect::<Vec<_>>().join("   ");
        let cells = match (error, unknown) {
            (Some(error), _) => format!("error: {error}"),
            // The classes are what it would be if it were one of them.
            (None, Some(true)) => format!("unknown   (nearest: {rows})"),
            (None, _) => rows,
        };
        text += &format!("{file:<width$}   {cells}\n");
    }
    printer::result(text)?;
    if answers.iter().flat_map(|answer| answer.predictions.iter().flatten()).any(|row| row.chosen.is_some()) {
        progress
            .note("a picture is said to show the classes marked *: their probability reaches the class's threshold");
    }
    Ok(())
}

fn print_csv(answers: &[Answer], exclusive: bool) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // One column more where a picture may show several classes.
    let record = |[file, rank, class, probability, chosen, unknown, error]: [&str; 7]| {
        let chosen = (!exclusive).then_some(chosen);
        [file, rank, class, probability].into_iter().chain(chosen).chain([unknown, error]).map(str::to_owned).collect()
    };
    let head: Vec<String> = record(["file", "rank", "class", "probability", "chosen", "unknown", "error"]);
    writer.write_record(head)?;
    for answer in answers {
        if let Some(error) = &answer.error {
            writer.write_record(record([&answer.file, "", "", "", "", "", error]))?;
        }
        for (rank, row) in answer.predictions.iter().flatten().enumerate() {
            let (rank, probability) = ((rank + 1).to_string(), row.probability.to_string());
            let unknown = answer.unknown.unwrap_or(false).to_string();
            let chosen = row.chosen.unwrap_or(false).to_string();
            writer.write_record(record([&answer.file, &rank, &row.class, &probability, &chosen, &unknown, ""]))?;
        }
    }
    printer::result(String::from_utf8(writer.into_inner()?)?)
}
