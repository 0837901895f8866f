//! More classes, or more pictures, for a finished model: what it has learned is where the training begins, and its classes
//! stay what they were, in their order. They are held by their pictures where these are still there, unchanged; otherwise by
//! what the model file keeps of their features. Which of them happens is said, and measured.

use std::{
    fmt::{self, Display},
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    config::{Preprocess, TrainOptions},
    events::{Event, Listener},
};
use crate::{
    Error, Result,
    data::{self, Dataset, DatasetConfig, Joined, Source, Split},
    evaluate::{Evaluation, Scores, Truth, logits_of},
    files::hexadecimal,
    image::Fit,
    model::{Conventions, Graph, Parameters},
    ops::Predictor,
    recall::Recall,
    weights::{self, ModelCard, Parent, SavedModel},
};

/// What keeps the classes of an extended model from being forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OldClasses {
    /// The pictures that they were learned from.
    Pictures,
    /// What the model file keeps of their features.
    Features,
}

impl Display for OldClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What an extension did to the classes that were there before.
#[derive(Clone, Debug, Serialize)]
pub struct Extended {
    /// The model that was extended.
    pub from: PathBuf,
    /// Classes that it did not know.
    pub added: Vec<String>,
    /// What held the others.
    pub old_classes: OldClasses,
    /// How it did on test images of its classes, where some are at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Scores>,
    /// How the extended model does on the same images, among all classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Scores>,
}

/// A model that is being extended.
pub(super) struct Extension {
    path: PathBuf,
    parent: SavedModel,
    /// The settings that it was trained with, where its run is there.
    settings: Option<TrainOptions>,
    /// SHA-256 of its file.
    file: String,
    old: Old,
    /// Classes that it does not know.
    added: Vec<String>,
    /// Test images of its classes.
    old_test: Vec<u32>,
    before: Option<Scores>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of them in a training")]
enum Old {
    Pictures(Dataset),
    /// Why there are no pictures.
    Features(String),
}

impl Extension {
    /// Opens the model that `options` extend, looks for the pictures that it was trained on, and completes the options with
    /// what goes without saying.
    ///
    /// # Errors
    /// A model that cannot be read or is another than the one recorded; options that contradict it.
    pub fn open(path: &Path, options: &mut TrainOptions, listener: Listener) -> Result<Self> {
        let location = weights::locate(path)?;
        let bytes = fs::read(&location).map_err(Error::io("read", &location))?;
        let parent = weights::parse(&bytes, &location)?;
        let file = hexadecimal(&Sha256::digest(&bytes));
        if !parent.card.is_exclusive() {
            return Err(several_labels(path.display()));
        }
        if let Some(recorded) = options.parent.as_ref().filter(|&recorded| *recorded != file) {
            return Err(Error::invalid(
                format!(
                    "{} is not the model that was extended: its SHA-256 is {file}, not {recorded}",
                    location.display()
                ),
                "bring that model back, or extend this one: percept train DATA --extend MODEL",
            ));
        }
        let settings = location.with_file_name("config.toml");
        let settings = if settings.exists() { Some(TrainOptions::read(&settings)?) } else { None };
        let from_scratch = settings.as_ref().is_some_and(|settings| settings.from_scratch);
        refuse_contradictions(options, &parent.card, from_scratch, path)?;
        options.from_scratch = from_scratch;
        let old = match options.old_classes {
            Some(OldClasses::Features) => Old::Features("as in the run that is repeated".into()),
            recorded => match reopen(&location, &parent.card, options, None, listener) {
                Ok(pictures) => Old::Pictures(pictures),
                Err(reason) if recorded == Some(OldClasses::Pictures) => {
                    return Err(Error::missing(
                        format!("the pictures that {} was trained on are needed: {reason}", path.display()),
                        "bring them back as they were, or extend the model anew: percept train DATA --extend MODEL",
                    ));
                }
                Err(reason) => Old::Features(reason),
            },
        };
        let extension = Self {
            path: path.into(),
            parent,
            settings,
            file,
            old,
            added: Vec::new(),
            old_test: Vec::new(),
            before: None,
        };
        extension.complete(options)?;
        Ok(extension)
    }

    /// Fills in what the model decides.
    fn complete(&self, options: &mut TrainOptions) -> Result<()> {
        let card = &self.parent.card;
        let ModelCard { architecture, fit, filter, views, held_out, .. } = card.clone();
        options.model = Some(card.model.clone());
        options.image_size = Some([architecture.input.height, architecture.input.width]);
        options.hidden = Some(architecture.hidden);
        options.preprocess = Some(preprocess(card));
        (options.fit, options.filter) = (Some(fit), Some(filter));
        options.views = options.views.or(Some(views));
        options.test = Some(held_out[1]);
        let rate = self.settings.as_ref().and_then(|settings| settings.false_rejection);
        options.false_rejection = options.false_rejection.or(rate);
        options.parent = Some(self.file.clone());
        options.old_classes = Some(self.old_classes());
        match &self.old {
            // The layers that learned are left alone, so that folds of all new pictures can judge.
            Old::Features(_) => options.validation = options.validation.or(Some(0.0)),
            Old::Pictures(_) if self.was_judged_by_folds() => {}
            Old::Pictures(_) => match options.validation.filter(|&asked| asked != held_out[0]) {
                Some(asked) => return Err(contradiction("--validation", asked, held_out[0], &self.path)),
                None => options.validation = Some(held_out[0]),
            },
        }
        if let Old::Features(reason) = &self.old {
            if options.stage == Some(2) {
                return Err(Error::invalid(
                    format!(
                        "--stage 2 would forget the classes of {}, whose pictures are not there: {reason}",
                        self.path.display()
                    ),
                    "bring the pictures back as they were, or leave --stage out",
                ));
            }
            options.stage = Some(1);
        }
        Ok(())
    }

    /// Refuses images that show several classes each.
    ///
    /// # Errors
    /// Such images.
    pub fn refuse_several(&self, source: &Source) -> Result<()> {
        if source.sets.is_some() { Err(several_labels(&source.name)) } else { Ok(()) }
    }

    pub fn old_classes(&self) -> OldClasses {
        match self.old {
            Old::Pictures(_) => OldClasses::Pictures,
            Old::Features(_) => OldClasses::Features,
        }
    }

    /// Whether all that the model's layers know came with pretrained weights, and folds of its training images judged it.
    fn was_judged_by_folds(&self) -> bool {
        let card = &self.parent.card;
        let stage = self.settings.as_ref().and_then(|settings| settings.stage);
        card.held_out[0] == 0.0 && stage == Some(1) && card.validation.is_some()
    }

    /// Whether folds of the training images can stand in for validation: the layers have learned from none of them.
    pub fn folds_judge(&self) -> bool {
        self.old_classes() == OldClasses::Features || self.was_judged_by_folds()
    }

    /// What the model's weights expect of the network.
    pub fn conventions(&self) -> Conventions {
        self.parent.graph.conventions
    }

    /// Images that are trained on beside the new ones.
    pub fn training_images(&self) -> usize {
        match &self.old {
            Old::Pictures(old) => old.train.len(),
            Old::Features(_) => 0,
        }
    }

    /// Has new pictures shown in the model's channels, and says where that changes them.
    pub fn show(&self, source: &mut Source, listener: Listener) {
        let channels = self.parent.card.architecture.input.channels;
        if source.channels != channels {
            let how = if channels == 1 { "in grey" } else { "in three equal colours" };
            listener(Event::Note(format!("{} is shown {how}, as the pictures of the model were", source.name)));
        }
        source.show_with_channels(channels);
    }

    /// Puts the new data beside the old, its labels counted as the model's classes and those that come after them.
    ///
    /// # Errors
    /// Old classes of which nothing is left; data that changed in this moment.
    pub fn join(
        &mut self,
        new: Dataset,
        wanted: &DatasetConfig,
        options: &TrainOptions,
        listener: Listener,
    ) -> Result<Dataset> {
        let card = &self.parent.card;
        self.added = new.classes.iter().filter(|class| !card.classes.contains(class)).cloned().collect();
        let classes = [&card.classes[..], &self.added].concat();
        let note = |text: String| listener(Event::Note(text));
        let count = card.classes.len();
        let dataset = match &mut self.old {
            Old::Pictures(old) => {
                if wanted.validation != card.held_out[0] {
                    let location = weights::locate(&self.path)?;
                    *old = reopen(&location, card, options, Some(wanted.validation), listener)
                        .map_err(|reason| Error::invalid(reason, "start again"))?;
                }
                let tell = |event| listener(Event::Data(event));
                let Joined { dataset, first, copies, contradictions } =
                    Dataset::join(old, &new, &classes, count, wanted, &tell)?;
                self.old_test = dataset.test.iter().copied().filter(|&image| (image as usize) < first).collect();
                contradictions.into_iter().for_each(note);
                let fresh = dataset.len() - first;
                note(describe(&self.path, count, &self.added, fresh, copies));
                note(format!(
                    "the {count} old classes are held by their pictures: {first} of {}, unchanged since",
                    old.name
                ));
                dataset
            }
            Old::Features(reason) => {
                let mut dataset = new;
                dataset.rename_classes(&classes)?;
                let is_old = |&image: &u32| (dataset.labels[image as usize] as usize) < count;
                self.old_test = dataset.test.iter().copied().filter(is_old).collect();
                note(describe(&self.path, count, &self.added, dataset.len(), 0));
                note(format!(
                    "the {count} old classes are held by what the model file keeps of their features, and no layer but the \
                     last one learns: {reason}"
                ));
                dataset
            }
        };
        self.check_classes(&dataset)?;
        if !self.old_test.is_empty() {
            let SavedModel { graph, parameters, card, .. } = &self.parent;
            let mut predictor = Predictor::new(graph.clone(), parameters.clone()).with_views(card.views);
            let logits = logits_of(&mut predictor, &dataset, &self.old_test);
            let truth = Truth::of(&dataset, &self.old_test);
            self.before = Some(Evaluation::of(&logits, &truth, count, card.temperature, &[]).scores);
        }
        Ok(dataset)
    }

    /// Refuses classes that would be lost.
    fn check_classes(&self, dataset: &Dataset) -> Result<()> {
        let mut known = dataset.class_counts(Split::Train);
        for (count, recalled) in known.iter_mut().zip(self.recall().map(Recall::counts).unwrap_or_default()) {
            *count += recalled;
        }
        let lost: Vec<&str> = dataset
            .classes
            .iter()
            .zip(&known)
            .filter(|(_, count)| **count == 0)
            .map(|(class, _)| class.as_str())
            .collect();
        let Some(first) = lost.first() else { return Ok(()) };
        let more = if lost.len() > 1 { format!(" and {} more", lost.len() - 1) } else { String::new() };
        Err(match &self.old {
            Old::Features(reason) => Error::missing(
                format!(
                    "nothing is left of class \"{first}\"{more}: {reason}; {} keeps no features of it; and {} holds no \
                     training image of it",
                    self.path.display(),
                    dataset.name
                ),
                "bring the pictures back as they were, or put pictures of every class into the new data",
            ),
            Old::Pictures(_) => Error::invalid(
                format!(
                    "{} holds no training image of class \"{first}\"{more} that is not in the old data",
                    dataset.name
                ),
                "add pictures of it, or take it out",
            ),
        })
    }

    /// Puts the model's numbers into a graph of more classes. The rows of new ones stay as they are.
    pub fn fill(&self, graph: &Graph, parameters: &mut Parameters) {
        let classes = self.parent.card.classes.len();
        for (spec, into) in graph.parameters.iter().zip(&mut parameters.0) {
            let Some(from) = self.parent.parameters.get(&self.parent.graph, &spec.name) else { continue };
            if from.len() == into.len() {
                into.copy_from_slice(from);
                continue;
            }
            // The classifier's numbers, whose last axis in memory is the class.
            let all = graph.classes();
            for (into, from) in into.chunks_exact_mut(all).zip(from.chunks_exact(classes)) {
                into.fill(0.0);
                into[..classes].copy_from_slice(from);
            }
        }
    }

    /// What the model file keeps of its classes, where that has to hold them.
    pub fn recall(&self) -> Option<&Recall> {
        self.parent.recall.as_ref().filter(|_| self.old_classes() == OldClasses::Features)
    }

    /// What happened to the old classes, by logits of the test images.
    pub fn outcome(&self, dataset: &Dataset, test_logits: &[f32], temperature: f32) -> Extended {
        let classes = dataset.classes.len();
        let rows = dataset.test.iter().zip(test_logits.chunks_exact(classes));
        let old = rows.filter(|(image, _)| self.old_test.binary_search(image).is_ok());
        let logits: Vec<f32> = old.flat_map(|(_, row)| row).copied().collect();
        let truth = Truth::of(dataset, &self.old_test);
        let after = Evaluation::of(&logits, &truth, classes, temperature, &[]).scores;
        Extended {
            from: self.path.clone(),
            added: self.added.clone(),
            old_classes: self.old_classes(),
            before: self.before.clone(),
            after: self.before.is_some().then_some(after),
        }
    }

    /// What a report says of it.
    pub fn remarks(&self) -> Vec<String> {
        let path = self.path.display();
        let held = match &self.old {
            Old::Pictures(_) => {
                format!("This model extends {path}, whose pictures it learned from again, beside the new ones.")
            }
            Old::Features(reason) => format!(
                "This model extends {path} without the pictures of that ({reason}): what its file keeps of their features holds \
                 the old classes, and only the last layer has learned."
            ),
        };
        let measured = match self.old_test.is_empty() {
            true => {
                "No test image of the old classes is at hand, so that nothing here says how well they are still told."
                    .into()
            }
            false => String::new(),
        };
        [held, measured].into_iter().filter(|sentence| !sentence.is_empty()).collect()
    }

    /// What the new model file says of where it came from.
    pub fn origin(&self) -> Parent {
        let ModelCard { data, fingerprint, parent, .. } = &self.parent.card;
        let earlier = parent.as_ref().map_or(Vec::new(), |parent| parent.data.clone());
        Parent {
            file: self.file.clone(),
            data: [earlier, vec![data.clone()]].concat(),
            fingerprint: fingerprint.clone(),
        }
    }
}

fn preprocess(card: &ModelCard) -> Preprocess {
    if card.architecture.per_pixel { Preprocess::MeanImage } else { Preprocess::MeanStd }
}

/// What comes on top, in a sentence.
fn describe(path: &Path, classes: usize, added: &[String], images: usize, copies: usize) -> String {
    let known = match copies {
        0 => String::new(),
        copies => format!(", beside {copies} that it learned from or was measured on"),
    };
    let images = format!("{images} new images{known}");
    let path = path.display();
    match added {
        [] => format!("{path} knows every class of the data: its training goes on, with {images}"),
        [only] => format!("{path} of {classes} classes learns another, \"{only}\", from {images}"),
        all => format!("{path} of {classes} classes learns {} others, {}, from {images}", all.len(), all.join(", ")),
    }
}

fn contradiction(flag: &str, asked: impl Display, own: impl Display, path: &Path) -> Error {
    Error::invalid(
        format!("{flag} {asked} contradicts --extend {}, whose model has {own}", path.display()),
        format!("leave {flag} out: an extended model keeps what it learned with"),
    )
}

/// Refuses options that ask for another model than the one that is to be extended.
fn refuse_contradictions(options: &TrainOptions, card: &ModelCard, from_scratch: bool, path: &Path) -> Result<()> {
    let (input, hidden) = (card.architecture.input, card.architecture.hidden);
    let fit = |fit: Fit| format!("{fit:?}").to_lowercase();
    let size = |[height, width]: [usize; 2]| format!("{height}x{width}");
    let asked = [
        ("--model", options.model.clone().filter(|model| model != "auto"), card.model.clone()),
        ("--image-size", options.image_size.map(size), size([input.height, input.width])),
        ("--hidden", options.hidden.map(|hidden| hidden.to_string()), hidden.to_string()),
        ("--preprocess", options.preprocess.map(|how| how.to_string()), preprocess(card).to_string()),
        ("--fit", options.fit.map(fit), fit(card.fit)),
        ("--test", options.test.map(|share| share.to_string()), card.held_out[1].to_string()),
        ("--weights", options.weights.as_ref().map(|file| file.display().to_string()), "its own".into()),
    ];
    for (flag, asked, own) in asked {
        if let Some(asked) = asked.filter(|asked| *asked != own) {
            return Err(contradiction(flag, asked, own, path));
        }
    }
    match options.from_scratch && !from_scratch {
        true => Err(Error::invalid(
            format!("--from-scratch and --extend {} contradict each other", path.display()),
            "leave one of them out",
        )),
        false => Ok(()),
    }
}

/// The pictures that a model was trained on, split as they were then or with another share for validation; or why they cannot
/// be had.
fn reopen(
    file: &Path,
    card: &ModelCard,
    places: &TrainOptions,
    validation: Option<f64>,
    listener: Listener,
) -> Result<Dataset, String> {
    let settings = file.with_file_name("config.toml");
    if !settings.exists() {
        return Err(format!("{} does not say where they are: it has no config.toml beside it", file.display()));
    }
    let said = |error: Error| error.to_string();
    let options = TrainOptions::read(&settings).map_err(said)?;
    let input = card.architecture.input;
    let mut config = DatasetConfig {
        data_dir: places.data_dir.clone(),
        image_size: Some([input.height, input.width]),
        fit: card.fit,
        filter: card.filter,
        bad_images: options.bad_images.unwrap_or_default(),
        validation: validation.unwrap_or(card.held_out[0]),
        test: card.held_out[1],
        adds: true,
        ..DatasetConfig::new(&options.data)
    };
    if let Some(folder) = &places.cache_dir {
        config.cache_dir.clone_from(folder);
    }
    // What is to be said of the data was said when it was trained on.
    let tell = |event| {
        if !matches!(event, data::Event::Note(_)) {
            listener(Event::Data(event));
        }
    };
    let mut source = Source::open(&config, &tell).map_err(said)?;
    source.show_with_channels(input.channels);
    let mut dataset = Dataset::from_source(&source, &config, &tell).map_err(said)?;
    if let Some(earlier) = &options.extend {
        if options.old_classes != Some(OldClasses::Pictures) {
            return Err(format!("{} itself was extended without them", file.display()));
        }
        let location = weights::locate(earlier).map_err(said)?;
        let parent = weights::load(&location).map_err(said)?;
        // Split as for this run, whose fingerprint then speaks for both.
        let old = reopen(&location, &parent.card, places, Some(config.validation), listener)?;
        let known = parent.card.classes.len();
        dataset = Dataset::join(&old, &dataset, &card.classes, known, &config, &tell).map_err(said)?.dataset;
    }
    match dataset.fingerprint_of(&card.classes) {
        Some(found) if found == card.fingerprint || validation.is_some() => Ok(dataset),
        _ => Err(format!("{} is not what it was then", options.data)),
    }
}

fn several_labels(what: impl Display) -> Error {
    Error::invalid(
        format!("{what} has several labels an image, which --extend cannot add to yet"),
        "train a new model on the old and the new images together: percept train DATA",
    )
}
