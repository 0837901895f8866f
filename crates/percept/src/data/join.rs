//! Data on top of other data: the images of both in one set, each once. Every part keeps the splits that it has by itself,
//! so that what was held out stays so.

use std::collections::HashMap;

use super::{
    Dataset, DatasetConfig, Listener, Split,
    cache::{self, Decoded, Facts},
    dataset::fingerprint,
    source::count,
};
use crate::{Error, Result};

/// Two sets of images in one.
pub struct Joined {
    /// The first one's images, then the second one's.
    pub dataset: Dataset,
    /// How many the first one has.
    pub first: usize,
    /// Images of the second one that the first one holds too, and that were left out.
    pub copies: usize,
    /// What to say of copies that stand under another class in the second one.
    pub contradictions: Option<String>,
}

/// Where an image of a part goes.
struct Place {
    part: usize,
    image: u32,
    label: u32,
}

impl Dataset {
    /// What [`Dataset::fingerprint`] would be if there were only these classes, in this order. Nothing where one of them is
    /// not among the data's.
    pub fn fingerprint_of(&self, classes: &[String]) -> Option<String> {
        let labels = self.labels_among(classes);
        let there = labels.iter().flatten().count();
        if there != classes.len() || self.sets.is_some() {
            return None;
        }
        let places = (0u32..).zip(&self.labels).filter_map(|(image, &label)| Some((image, labels[label as usize]?)));
        let (images, labels): (Vec<u32>, Vec<u32>) = places.unzip();
        let contents: Vec<u128> = images.iter().map(|&image| self.contents[image as usize]).collect();
        let place_of: HashMap<u32, u32> = images.iter().copied().zip(0..).collect();
        let splits =
            Split::ALL.map(|split| self.split(split).iter().filter_map(|image| place_of.get(image).copied()).collect());
        let splits = splits.each_ref().map(|split: &Vec<u32>| &split[..]);
        Some(fingerprint(self.shape, classes, None, &labels, &contents, splits))
    }

    /// By label, its place among these classes.
    fn labels_among(&self, classes: &[String]) -> Vec<Option<u32>> {
        let place = |class: &String| classes.iter().position(|other| other == class).map(|place| place as u32);
        self.classes.iter().map(place).collect()
    }

    /// Images of one class each: those of `first`, then those of `second` that `first` does not hold, labelled in the order of `classes`. Of the
    /// first count only those of the `known` first classes, of the second only those of all.
    ///
    /// # Errors
    /// Images of two sizes, or a cache that can hold no more.
    pub fn join(
        first: &Self,
        second: &Self,
        classes: &[String],
        known: usize,
        config: &DatasetConfig,
        listener: Listener,
    ) -> Result<Joined> {
        if first.shape != second.shape {
            let (one, other) = (first.describe(), second.describe());
            return Err(Error::invalid(format!("images of two sizes do not go together: {one}; {other}"), ""));
        }
        let parts = [first, second];
        let (mut places, mut labels_by_content) = (Vec::new(), HashMap::new());
        let (mut copies, mut contradictions, mut of_first) = (0, Vec::new(), 0);
        for (part, dataset) in parts.into_iter().enumerate() {
            let labels = dataset.labels_among(if part == 0 { &classes[..known] } else { classes });
            for (image, &label) in (0u32..).zip(&dataset.labels) {
                let Some(label) = labels[label as usize] else { continue };
                let content = dataset.contents[image as usize];
                if part == 0 {
                    labels_by_content.insert(content, label);
                } else if let Some(&known) = labels_by_content.get(&content) {
                    copies += 1;
                    if known != label {
                        contradictions.push((dataset.names[image as usize].clone(), known));
                    }
                    continue;
                }
                places.push(Place { part, image, label });
            }
            of_first = if part == 0 { places.len() } else { of_first };
        }
        let dataset = Self::of_places(parts, &places, classes, config, listener)?;
        let contradictions = contradictions.first().map(|(name, label)| {
            format!(
                "{} of {} stand in the data of the run under another class, which is kept, such as {name}: \"{}\"",
                count(contradictions.len(), "image"),
                second.name,
                classes[*label as usize]
            )
        });
        Ok(Joined { dataset, first: of_first, copies, contradictions })
    }

    fn of_places(
        parts: [&Self; 2],
        places: &[Place],
        classes: &[String],
        config: &DatasetConfig,
        listener: Listener,
    ) -> Result<Self> {
        let [first, second] = parts;
        let splits = Split::ALL.map(|split| {
            let members = parts.map(|part| {
                let mut is_member = vec![false; part.len()];
                part.split(split).iter().for_each(|&image| is_member[image as usize] = true);
                is_member
            });
            let inside = |place: &Place| members[place.part][place.image as usize];
            (0u32..).zip(places).filter(|(_, place)| inside(place)).map(|(image, _)| image).collect()
        });
        let [train, validation, test]: [Vec<u32>; 3] = splits;
        let mut facts = Facts { given: vec![None; places.len()], listed: vec![0; classes.len()], ..Facts::default() };
        for place in places {
            let (part, image) = (parts[place.part], place.image as usize);
            facts.labels.push(place.label);
            facts.contents.push(part.contents[image]);
            facts.names.push(part.names[image].clone());
            facts.listed[place.label as usize] += 1;
        }
        let identity = format!("joined {} {} {classes:?}", first.fingerprint, second.fingerprint);
        let images = places.iter().map(|place| parts[place.part].image(place.image as usize));
        let Decoded { shape, facts, pixels } = cache::keep(&identity, first.shape, facts, images, config, listener)?;
        let Facts { labels, contents, names, .. } = facts;
        let dataset = Self {
            name: second.name.clone(),
            classes: classes.to_vec(),
            shape,
            mirrors: first.mirrors && second.mirrors,
            sets: None,
            labels,
            names,
            train,
            validation,
            test,
            unreadable: [&first.unreadable[..], &second.unreadable[..]].concat(),
            fingerprint: String::new(),
            splits_note: format!("{}: {}; {}: {}", first.name, first.splits_note, second.name, second.splits_note),
            contents,
            pixels,
        };
        Ok(dataset.with_fingerprint())
    }
}
