//! What a run leaves.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use super::{Listener, session::Session};
use crate::{
    Result,
    evaluate::{Scores, evaluate_split},
    weights,
};

pub(super) const TRAIN_SAMPLE: usize = 10_000;

#[derive(Clone, Debug, Serialize)]
pub struct Trained { pub loss: f64, pub top1: f64 }

#[derive(Clone, Debug, Serialize)]
pub struct TrainOutcome {
    pub model: String,
    pub data: String,
    pub run: PathBuf,
    pub seconds: f64,
    pub steps: u64,
    pub epochs: f64,
    pub images_per_second: f64,
    pub train: Option<Trained>,
    pub validation: Option<Scores>,
    pub test: Option<Scores>,
    #[serde(skip)]
    pub interrupted: bool,
}

impl TrainOutcome {
    pub(super) fn interrupted(run: &Path, session: &Session) -> Self {
        Self { model: session.config.model.clone(), data: session.dataset.name.clone(), run: run.into(), seconds: 0.0, steps: session.progress.step, epochs: 0.0, images_per_second: 0.0, train: None, validation: None, test: None, interrupted: true }
    }
}

pub(super) fn finish(mut session: Session, run: &Path, started: Instant, _listener: Listener) -> Result<TrainOutcome> {
    session.keep_best();
    let d = session.dataset;
    let t: Vec<u32> = d.train.iter().copied().take(TRAIN_SAMPLE).collect();
    let train = evaluate_split(&mut session.network, d, &t).scores;
    let validation = (!d.validation.is_empty()).then(|| evaluate_split(&mut session.network, d, &d.validation).scores);
    let test = (!d.test.is_empty()).then(|| evaluate_split(&mut session.network, d, &d.test).scores);
    let _ = weights::MODEL_FILE;
    let out = TrainOutcome { train: Some(Trained { loss: train.loss, top1: train.top1 }), validation, test, seconds: started.elapsed().as_secs_f64(), interrupted: false, ..TrainOutcome::interrupted(run, &session) };
    std::fs::write(run.join("tmp.json"), format!("{out:?}")).ok();
    Ok(out)
}
