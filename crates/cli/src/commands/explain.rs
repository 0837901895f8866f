//! `percept explain`: draws over pictures what in them spoke for the answer.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use percept::{
    Classifier,
    explain::{Interpreter, Method},
    files,
    image::{self, Image},
};

use super::{Cache, predict};
use crate::printer::{self, Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder, a model file, or the name of a pretrained model, such as efficientnet_lite0
    model: PathBuf,
    /// Pictures, or folders of pictures
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The folder for the drawings, made if it is not there
    #[arg(long, value_name = "DIR", default_value = "explanations")]
    out: PathBuf,
    /// Show what speaks for this class instead of the likeliest: to learn why it was not chosen
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// A file of the pretrained model's weights, instead of those that are found on this machine or downloaded
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    cache: Cache,
    /// How many threads compute
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(false);
    let model = super::open_model(&arguments.model, arguments.weights, &arguments.cache, &progress)?;
    let class = arguments.class.as_deref().map(|name| label(&model.card.classes, name)).transpose()?;
    let mut classifier = Classifier::from_saved(model.clone());
    let mut interpreter = Interpreter::from_saved(model);
    let pictures = predict::list(&arguments.images)?;
    files::create_folder(&arguments.out)?;
    let (mut taken, mut failed, mut method) = (HashSet::new(), 0, None);
    for file in &pictures {
        let picture = match open(file, interpreter.card().architecture.input.channels) {
            Ok(picture) => picture,
            Err(error) => {
                failed += 1;
                progress.line(&format!("{}: error: {error:#}", file.display()));
                continue;
            }
        };
        let (explanation, drawn) = interpreter.explain(&picture, class);
        let path = arguments.out.join(free_name(file, &mut taken));
        files::write_whole(&path, &image::encode_png(&drawn))?;
        let name = &classifier.card().classes[explanation.class].clone();
        let likelihoods = classifier.classify(std::slice::from_ref(&picture)).remove(0).likelihoods;
        let probability =
            likelihoods.iter().find(|likelihood| &likelihood.class == name).map_or(0.0, |l| l.probability);
        printer::result(format!("{}   {name} {:.1} %   {}", file.display(), 100.0 * probability, path.display()))?;
        method = Some(explanation.method);
    }
    match method {
        Some(Method::GradCam) => {
            progress.note("the brighter the colour, the more the place spoke for the class (Grad-CAM)")
        }
        Some(Method::PixelVotes) => progress.note("orange pixels voted for the class, blue ones against it"),
        None => {}
    }
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", pictures.len());
    }
    Ok(())
}

fn open(file: &Path, channels: usize) -> Result<Image> {
    let bytes = std::fs::read(file).context("cannot read it")?;
    image::decode(&bytes, channels).map_err(|reason| anyhow!(reason))
}

/// The label of a class's name.
fn label(classes: &[String], name: &str) -> Result<usize> {
    classes.iter().position(|class| class == name).ok_or_else(|| {
        const SHOWN: usize = 20;
        let mut known = classes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        if classes.len() > SHOWN {
            known += &format!(" and {} more", classes.len() - SHOWN);
        }
        anyhow!("the model knows no class \"{name}\": it knows {known}")
    })
}

/// The name of a picture's drawing, which no other picture of this call has.
fn free_name(file: &Path, taken: &mut HashSet<String>) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let names = (1..).map(|number| match number {
        1 => format!("{stem}-explained.png"),
        _ => format!("{stem}-explained-{number}.png"),
    });
    let mut free = names.skip_while(|name| taken.contains(name));
    let name = free.next().unwrap_or_default();
    taken.insert(name.clone());
    name
}
