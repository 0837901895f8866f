//! Looks at model files from time to time, and replaces a model whose file has changed. Asking the file system works on
//! every one of them, network mounts and containers included, where notifications do not.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{AppState, model::Slot, state::reload};

/// What changes with a file.
type Stamp = Option<(SystemTime, u64)>;

pub(crate) async fn watch(state: AppState, period: Duration) {
    let stamps = |state: &AppState| state.0.slots.iter().map(stamp).collect::<Vec<Stamp>>();
    let mut known = stamps(&state);
    let mut clock = interval(period.max(Duration::from_millis(10)));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let owned = state.clone();
        let before = known.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let now = stamps(&owned);
            for ((slot, before), now) in owned.0.slots.iter().zip(&before).zip(&now) {
                // A file that is gone may be about to come back.
                if now.is_some() && now != before {
                    reload(slot);
                }
            }
            now
        });
        if let Ok(now) = looked.await {
            known = now;
        }
    }
}

fn stamp(slot: &Slot) -> Stamp {
    slot.file().as_deref().and_then(stamp_of)
}

fn stamp_of(file: &Path) -> Stamp {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
