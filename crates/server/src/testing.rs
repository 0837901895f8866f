//! A server of a small model, for tests that look inside.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool, mpsc},
    time::Instant,
};

use axum::body::Bytes;
use percept::{
    image::{Image, ImageShape, encode_png},
    train::{Place, TrainOptions, train},
    weights::{self, SavedModel},
};

use crate::{AppState, ModelSource, Origin, ServerConfig, decoders};

/// A server of a softmax on digits, in memory.
pub(crate) fn state(change: impl FnOnce(&mut ServerConfig)) -> AppState {
    static MODEL: OnceLock<SavedModel> = OnceLock::new();
    let saved = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("digits");
        let mut options = TrainOptions { data: "digits".into(), steps: Some(20), ..TrainOptions::default() };
        options.model = Some("softmax".into());
        let stop = AtomicBool::new(false);
        train(&options, &Place::New(Some(run.clone())), Instant::now(), &stop, &|_| {}).unwrap();
        weights::load(&run).unwrap()
    });
    let origin = Origin::Memory(Box::new(saved.clone()));
    let mut config = ServerConfig::new(vec![ModelSource { name: "digits".into(), origin }]);
    change(&mut config);
    AppState::new(config).unwrap()
}

/// A picture of this size as a PNG file.
pub(crate) fn png(side: usize) -> Bytes {
    let shape = ImageShape { height: side, width: side, channels: 1 };
    let pixels = (0..shape.len()).map(|at| (at * 7 % 251) as u8).collect();
    encode_png(&Image { shape, pixels }).into()
}

/// Keeps every decoder's thread busy, until what this gives is dropped.
pub(crate) fn hold_decoders(state: &AppState) -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let (tell, told) = mpsc::channel();
    for _ in 0..decoders::threads() {
        let (held, tell) = (held.clone(), tell.clone());
        let busy = state.0.decoders.run((), move || {
            tell.send(()).unwrap();
            _ = held.lock().unwrap().recv();
        });
        // Somebody has to wait for it.
        tokio::spawn(busy);
    }
    (0..decoders::threads()).for_each(|_| told.recv().unwrap());
    hold
}
